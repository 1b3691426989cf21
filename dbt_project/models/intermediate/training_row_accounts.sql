{{ config(materialized='table') }}
-- Where every row of a training model's main table went: into the model, or left out, and why.
with rows_of_sets as (
    select 'seoul_bike_demand' as training_model, left_out_because from {{ ref('int_seoul_bike_lags') }}
    union all
    select 'earthquake_felt', left_out_because from {{ ref('int_earthquakes_labelled') }}
    union all
    select 'birdstrike_damage', left_out_because from {{ ref('int_strikes_at_airports') }}
)

select
    training_model,
    left_out_because is null as kept,
    coalesce(left_out_because, '') as reason,
    count(*) as row_count
from rows_of_sets
group by all
order by training_model, reason
