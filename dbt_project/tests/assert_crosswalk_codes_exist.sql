{{ config(meta={'dagster': {'ref': {'name': 'int_strikes_at_airports'}}}) }}
-- Where the crosswalk names an airport for a strike, the airport list must have it: a typing slip, or an airport renamed since.
select strike_airport_name, airport_match, count(*) as strikes
from {{ ref('int_strikes_at_airports') }}
where airport_match in ('exact', 'reviewed') and airport_iata is null
group by all
