{# Land the model that has just been built as one Parquet file, in the order of its natural key, so that equal rows make equal
   bytes. Only when the run names a folder (`madang_models_dir`; the model's own folder in it must exist): a build for its tests
   alone writes nothing. #}
{% macro land_parquet(natural_key) %}
{%- set folder = var('madang_models_dir', none) -%}
{%- if folder is not none -%}
copy (select * from {{ this }} order by {{ natural_key | join(', ') }})
to '{{ (folder ~ '/' ~ this.identifier ~ '/part-00000.parquet') | replace("'", "''") }}'
(format parquet, compression zstd)
{%- endif -%}
{% endmacro %}
