{{ config(post_hook="{{ land_parquet(['hour_starts_at']) }}") }}
select
    hour_starts_at,
    local_date,
    local_hour,
    month,
    day_of_week,
    is_weekend,
    season,
    is_holiday,
    temperature_c,
    humidity_pct,
    wind_speed_ms,
    visibility_10m,
    dew_point_c,
    solar_radiation_mj_m2,
    rainfall_mm,
    snowfall_cm,
    rented_same_hour_yesterday,
    rented_same_hour_last_week,
    rented_bike_count,
    _source_id,
    _source_row,
    _fetched_at
from {{ ref('int_seoul_bike_lags') }}
where left_out_because is null
