-- Every event with its label, and why an event is no example.
with dated as (
    select
        *,
        -- The newest change in the table stands for the moment at which it was taken.
        max(updated_at) over () as seen_at
    from {{ ref('stg_us_usgs__earthquakes_week') }}
)

select
    dated.* exclude (seen_at),
    places.place_distance_km,
    places.place_region,
    -- USGS counts reports of people who felt it; null means that no report page was ever made, 0 that all were withdrawn.
    case when coalesce(dated.felt_reports, 0) > 0 then 'felt' else 'not_felt' end as was_felt,
    hour(dated.occurred_at) as hour_utc,
    isodow(dated.occurred_at) as day_of_week,
    -- Mean solar time at the epicentre: are people awake? Needs no time-zone data and no political borders.
    round((hour(dated.occurred_at) + minute(dated.occurred_at) / 60.0 + dated.longitude / 15.0 + 24.0) % 24.0, 2) as solar_hour,
    -- A square of one degree: aftershocks of one sequence resemble each other and must not stand on both sides of a split.
    printf('%s%02d%s%03d',
        case when floor(dated.latitude) < 0 then 'S' else 'N' end, abs(floor(dated.latitude))::integer,
        case when floor(dated.longitude) < 0 then 'W' else 'E' end, abs(floor(dated.longitude))::integer) as cell,
    case
        when dated.review_status = 'deleted' then 'deleted by its network'
        when dated.event_type <> 'earthquake' then 'not an earthquake'
        when dated.magnitude is null then 'no magnitude'
        when dated.occurred_at > dated.seen_at - to_hours({{ var('felt_label_matures_hours') }}) then 'label not mature'
    end as left_out_because
from dated
left join {{ ref('int_earthquake_places') }} as places on places.event_id = dated.event_id
