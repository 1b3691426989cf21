-- Demand of the same hour one day and one week earlier.
-- Joined by time and not by row offset: with a row offset a missing hour would shift every later lag. An hour that is absent
-- or closed has no demand to look back on, so its lag is null, never zero.
with demand as (
    select hour_starts_at, rented_bike_count
    from {{ ref('int_seoul_bike_hours') }}
    where left_out_because is null
)

select
    h.*,
    yesterday.rented_bike_count as rented_same_hour_yesterday,
    last_week.rented_bike_count as rented_same_hour_last_week
from {{ ref('int_seoul_bike_hours') }} as h
left join demand as yesterday on yesterday.hour_starts_at = h.hour_starts_at - interval 1 day
left join demand as last_week on last_week.hour_starts_at = h.hour_starts_at - interval 7 days
