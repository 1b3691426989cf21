{{ config(meta={'dagster': {'ref': {'name': 'seoul_bike_demand'}}}) }}
-- The agency's season is the calendar's (winter from December); another value is a slip at the source.
select hour_starts_at, local_date, season
from {{ ref('seoul_bike_demand') }}
where season <> ['Winter', 'Spring', 'Summer', 'Autumn'][(month % 12) // 3 + 1]
