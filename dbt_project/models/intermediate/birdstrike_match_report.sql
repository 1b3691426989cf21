{{ config(materialized='table') }}
-- How the join of strikes to airports went, name by name: what was matched how, and what was not.
select
    strike_airport_name,
    airport_match,
    airport_iata,
    count(*) as strikes,
    airport_iata is not null as matched
from {{ ref('int_strikes_at_airports') }}
group by all
order by strike_airport_name
