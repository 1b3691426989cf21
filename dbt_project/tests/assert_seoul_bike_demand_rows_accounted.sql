{{ config(meta={'dagster': {'ref': {'name': 'seoul_bike_demand'}}}) }}
-- Every row of the main table is either in the model or counted under a reason; none is lost or doubled by a join.
with counts as (
    select
        (select count(*) from {{ ref('stg_kr_seoul__bike_hourly') }}) as read_rows,
        (select coalesce(sum(row_count), 0) from {{ ref('training_row_accounts') }} where training_model = 'seoul_bike_demand') as accounted,
        (select coalesce(sum(row_count), 0) from {{ ref('training_row_accounts') }} where training_model = 'seoul_bike_demand' and kept) as kept,
        (select count(*) from {{ ref('seoul_bike_demand') }}) as model_rows
)

select * from counts where read_rows <> accounted or kept <> model_rows
