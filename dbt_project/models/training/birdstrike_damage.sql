{{ config(post_hook="{{ land_parquet(['airport_iata', 'flight_date', '_source_id', '_source_row']) }}") }}
select
    airport_iata,
    airport_state,
    airport_latitude,
    airport_longitude,
    flight_date,
    month(flight_date) as month,
    phase_of_flight,
    time_of_day,
    speed_ias_knots,
    aircraft_make_model,
    aircraft_operator,
    wildlife_size,
    wildlife_species,
    damage,
    _source_id,
    _source_row,
    _fetched_at
from {{ ref('int_strikes_at_airports') }}
where left_out_because is null
