-- One row per airport of the FAA's list.
select
    iata,
    name as airport_name,
    city,
    state,
    country,
    latitude,
    longitude
from {{ source('tables', 'us_faa__airports') }}
