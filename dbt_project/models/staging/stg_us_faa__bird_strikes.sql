-- One row per reported wildlife strike. The cost columns end here: they are known only after the damage.
select
    airport_name as strike_airport_name,
    flight_date,
    phase_of_flight,
    time_of_day,
    wildlife_size,
    wildlife_species,
    aircraft_make_model,
    aircraft_airline_operator as aircraft_operator,
    origin_state,
    speed_ias_in_knots as speed_ias_knots,
    effect_amount_of_damage as damage_code,
    _source_id,
    _source_row,
    _fetched_at
from {{ source('tables', 'us_faa__bird_strikes') }}
