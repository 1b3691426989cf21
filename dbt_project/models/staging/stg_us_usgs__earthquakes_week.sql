-- One row per seismic event of the USGS catalogue.
select
    id as event_id,
    time as occurred_at,
    updated as updated_at,
    type as event_type,
    status as review_status,
    mag as magnitude,
    mag_type,
    depth as depth_km,
    latitude,
    longitude,
    nst as stations,
    gap as gap_deg,
    dmin as nearest_station_deg,
    rms as rms_s,
    net as network,
    place,
    felt as felt_reports,
    _source_id,
    _source_row,
    _fetched_at
from {{ source('tables', 'us_usgs__earthquakes_week') }}
