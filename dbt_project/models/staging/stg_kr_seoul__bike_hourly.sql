-- One row per hour of Seoul's public bike service, as the agency published it.
select
    date as local_date,
    hour as local_hour,
    -- Korea has kept UTC+9 without daylight saving time since 1988, so a fixed offset is exact for these years.
    date::timestamp + to_hours(hour) - interval 9 hours as hour_starts_at,
    rented_bike_count,
    temperature as temperature_c,
    humidity as humidity_pct,
    wind_speed as wind_speed_ms,
    visibility as visibility_10m,
    dew_point_temperature as dew_point_c,
    solar_radiation as solar_radiation_mj_m2,
    rainfall as rainfall_mm,
    snowfall as snowfall_cm,
    seasons as season,
    holiday = 'Holiday' as is_holiday,
    functioning_day as was_open,
    _source_id,
    _source_row,
    _fetched_at
from {{ source('tables', 'kr_seoul__bike_hourly') }}
