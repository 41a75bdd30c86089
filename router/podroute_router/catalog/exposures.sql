-- Version 2: the exposures of collections.

-- The views that SQL users read collections by. Routers that know version 1 leave them alone.
create table podroute_catalog.exposures (
    view_schema text collate "C" not null check (view_schema <> ''),
    view_name text collate "C" not null check (view_name <> ''),
    collection text collate "C" not null references podroute_catalog.collections (name),
    columns jsonb not null check (jsonb_typeof(columns) = 'array'),
    roles text[] not null,
    code_point_order boolean not null,
    revision bigint not null check (revision >= 1),
    primary key (view_schema, view_name)
);
