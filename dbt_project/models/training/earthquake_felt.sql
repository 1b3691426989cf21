{{ config(post_hook="{{ land_parquet(['event_id']) }}") }}
select
    event_id,
    occurred_at,
    hour_utc,
    day_of_week,
    solar_hour,
    magnitude,
    mag_type,
    depth_km,
    latitude,
    longitude,
    cell,
    place_distance_km,
    place_region,
    stations,
    gap_deg,
    nearest_station_deg,
    rms_s,
    network,
    was_felt,
    _source_id,
    _source_row,
    _fetched_at
from {{ ref('int_earthquakes_labelled') }}
where left_out_because is null
