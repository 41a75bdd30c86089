-- Version 1 of the schema podroute_catalog. `podroute pods prepare` makes the schema itself.
-- A change of it is a further file, listed in store.MIGRATIONS; this one stays as it is.

-- Says which version the objects here are, and the oldest router (by the version it knows) that can work with them.
create table podroute_catalog.schema_version (
    singleton boolean primary key default true check (singleton),
    version integer not null check (version >= 1),
    minimum_reader integer not null check (minimum_reader between 1 and version)
);

-- Counts the changes. Who changes anything locks this row first, so that revisions commit in their order.
create table podroute_catalog.revision (
    singleton boolean primary key default true check (singleton),
    revision bigint not null check (revision >= 0)
);

-- Starts the count.
insert into podroute_catalog.revision (revision) values (0);

-- Names the pods; their addresses are in the routers' configuration.
create table podroute_catalog.pods (
    name text collate "C" primary key check (name ~ '^[a-z][a-z0-9_]{0,31}$'),
    revision bigint not null check (revision >= 1)
);

-- Places the collections. A deleted one stays as a tombstone, so that a router can ask what changed since a revision,
-- and so that a collection made anew under its name gets another generation.
create table podroute_catalog.collections (
    name text collate "C" primary key check (name ~ '^[a-z][a-z0-9_]{0,47}$'),
    pod text collate "C" not null references podroute_catalog.pods (name),
    table_schema text collate "C" not null check (table_schema <> ''),
    table_name text collate "C" not null check (table_name <> ''),
    dimension integer not null check (dimension between 1 and 16000),
    metric text collate "C" not null check (metric in ('cosine', 'l2', 'inner_product', 'l1')),
    generation bigint not null check (generation >= 1),
    deleted boolean not null default false,
    revision bigint not null check (revision >= 1)
);

-- Finds what changed since a revision.
create index collections_revision on podroute_catalog.collections (revision);

-- Keeps two collections off one table.
create unique index collections_table on podroute_catalog.collections (pod, table_schema, table_name)
where not deleted;
