{{ config(meta={'dagster': {'ref': {'name': 'int_strikes_at_airports'}}}) }}
-- The strikes' own state is a second witness of the crosswalk: the airport found must lie in it.
-- Dulles and Reagan National are the exception: they serve Washington, DC, and lie in Virginia.
select distinct s.strike_airport_name, s.origin_state, s.airport_iata, s.airport_state
from {{ ref('int_strikes_at_airports') }} as s
left join {{ ref('codes_regions') }} as r on s.origin_state in (r.name, r.code)
where
    s.airport_iata is not null
    and s.origin_state is not null
    and r.code is distinct from s.airport_state
    and not (s.airport_iata in ('DCA', 'IAD') and s.origin_state = 'DC' and s.airport_state = 'VA')
