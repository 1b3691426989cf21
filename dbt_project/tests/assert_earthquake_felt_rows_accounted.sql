{{ config(meta={'dagster': {'ref': {'name': 'earthquake_felt'}}}) }}
-- Every row of the main table is either in the model or counted under a reason; none is lost or doubled by a join.
with counts as (
    select
        (select count(*) from {{ ref('stg_us_usgs__earthquakes_week') }}) as read_rows,
        (select coalesce(sum(row_count), 0) from {{ ref('training_row_accounts') }} where training_model = 'earthquake_felt') as accounted,
        (select coalesce(sum(row_count), 0) from {{ ref('training_row_accounts') }} where training_model = 'earthquake_felt' and kept) as kept,
        (select count(*) from {{ ref('earthquake_felt') }}) as model_rows
)

select * from counts where read_rows <> accounted or kept <> model_rows
