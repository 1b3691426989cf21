-- Every hour with its calendar, and why an hour is no example of demand.
select
    *,
    month(local_date) as month,
    isodow(local_date) as day_of_week,
    isodow(local_date) >= 6 as is_weekend,
    -- On a closed day the count is zero because no bike could be rented: that zero is not demand.
    case when not was_open then 'service closed' end as left_out_because
from {{ ref('stg_kr_seoul__bike_hourly') }}
