-- Strikes with the airport that they happened at, through the reviewed crosswalk: strikes carry only a name, spelt unlike the
-- airport list's. A strike whose airport is unknown stays here and says so; it never vanishes in a join.
select
    strikes.*,
    coalesce(crosswalk.match, 'not reviewed') as airport_match,
    airports.iata as airport_iata,
    airports.state as airport_state,
    airports.latitude as airport_latitude,
    airports.longitude as airport_longitude,
    damage.class as damage,
    case
        when crosswalk.strike_airport_name is null then 'airport name not in the crosswalk'
        when airports.iata is null then 'airport not in the airport list'
        when damage.class is null then 'damage code unknown'
    end as left_out_because
from {{ ref('stg_us_faa__bird_strikes') }} as strikes
left join {{ ref('crosswalk_strike_airports') }} as crosswalk on crosswalk.strike_airport_name = strikes.strike_airport_name
left join {{ ref('stg_us_faa__airports') }} as airports on airports.iata = crosswalk.iata
left join {{ ref('codes_strike_damage') }} as damage on damage.code = strikes.damage_code
