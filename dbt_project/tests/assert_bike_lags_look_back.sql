{{ config(meta={'dagster': {'ref': {'name': 'seoul_bike_demand'}}}) }}
-- A lag equals the demand that the model itself holds one day or one week earlier: nothing of the hour or its future gets in.
select a.hour_starts_at
from {{ ref('seoul_bike_demand') }} as a
left join {{ ref('seoul_bike_demand') }} as d on d.hour_starts_at = a.hour_starts_at - interval 1 day
left join {{ ref('seoul_bike_demand') }} as w on w.hour_starts_at = a.hour_starts_at - interval 7 days
where
    a.rented_same_hour_yesterday is distinct from d.rented_bike_count
    or a.rented_same_hour_last_week is distinct from w.rented_bike_count
