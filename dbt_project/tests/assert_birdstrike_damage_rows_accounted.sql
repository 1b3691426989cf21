{{ config(meta={'dagster': {'ref': {'name': 'birdstrike_damage'}}}) }}
-- Every row of the main table is either in the model or counted under a reason; none is lost or doubled by a join.
with counts as (
    select
        (select count(*) from {{ ref('stg_us_faa__bird_strikes') }}) as read_rows,
        (select coalesce(sum(row_count), 0) from {{ ref('training_row_accounts') }} where training_model = 'birdstrike_damage') as accounted,
        (select coalesce(sum(row_count), 0) from {{ ref('training_row_accounts') }} where training_model = 'birdstrike_damage' and kept) as kept,
        (select count(*) from {{ ref('birdstrike_damage') }}) as model_rows
)

select * from counts where read_rows <> accounted or kept <> model_rows
