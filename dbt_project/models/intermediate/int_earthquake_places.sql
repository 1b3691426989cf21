-- The two parts of USGS's place text, '4km W of Castaic, CA': how far the nearest named place is, and in which region.
-- USGS writes a state now as 'CA', now as 'California'; both become the name. A place without distance ('Reykjanes Ridge')
-- has null distance and is its own region.
with parts as (
    select
        event_id,
        try_cast(nullif(regexp_extract(place, '^(\d+(?:\.\d+)?) ?km [NSEW]+ of ', 1), '') as double) as place_distance_km,
        case
            when regexp_matches(place, '^\d+(?:\.\d+)? ?km [NSEW]+ of .*, [^,]+$') then trim(regexp_extract(place, ', ([^,]+)$', 1))
            when regexp_matches(place, '^\d+(?:\.\d+)? ?km [NSEW]+ of ') then trim(regexp_extract(place, ' of (.*)$', 1))
            else trim(place)
        end as region
    from {{ ref('stg_us_usgs__earthquakes_week') }}
)

select
    parts.event_id,
    parts.place_distance_km,
    coalesce(codes.name, parts.region) as place_region
from parts
left join {{ ref('codes_regions') }} as codes on codes.code = parts.region
