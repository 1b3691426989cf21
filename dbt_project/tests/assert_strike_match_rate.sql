{{ config(meta={'dagster': {'ref': {'name': 'birdstrike_match_report'}}}) }}
-- The crosswalk must find the airport of enough strikes. Fails with the rate that it saw.
with counted as (
    select sum(strikes) as strikes, coalesce(sum(strikes) filter (matched), 0) as matched
    from {{ ref('birdstrike_match_report') }}
)

select matched, strikes, matched / strikes as rate
from counted
where strikes > 0 and matched / strikes < {{ var('strike_match_rate_min') }}
