{{ config(meta={'dagster': {'ref': {'name': 'crosswalk_strike_airports'}}}) }}
-- 'none' and an empty code say the same thing; one without the other is a slip of the reviewer.
select strike_airport_name, iata, match
from {{ ref('crosswalk_strike_airports') }}
where (match = 'none') <> (iata is null)
