-- The statements of store.py: a name, a purpose, the statement. Parameters are $1, $2, …

-- name: find_catalog
-- Tells whether the schema exists, and whether it holds a catalog. (to_regclass would be wrong: a session that waited
-- for lock_migration may still remember that there was no such table.)
select
    exists (select from pg_catalog.pg_namespace where nspname = 'podroute_catalog'),
    exists (
        select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'podroute_catalog' and c.relname = 'schema_version'
    )

-- name: read_version
-- Reads the version of the schema and the oldest router that can work with it.
select version, minimum_reader from podroute_catalog.schema_version

-- name: lock_migration
-- Lets one router migrate at a time; the others wait.
select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('podroute_catalog.migrate', 0))

-- name: become_owner
-- Makes what the transaction creates the owner's, whichever router creates it.
set local role podroute_owner

-- name: write_version
-- Records the version that a migration ends with.
insert into podroute_catalog.schema_version (version, minimum_reader) values ($1, $2)
on conflict (singleton) do update set version = excluded.version, minimum_reader = excluded.minimum_reader

-- name: read_revision
-- Reads the revision, and whether this server is a standby and may be behind.
select revision, pg_catalog.pg_is_in_recovery() from podroute_catalog.revision

-- name: take_snapshot
-- Makes the statements of the transaction see one state of the catalog.
set transaction isolation level repeatable read, read only

-- name: read_pods
-- Reads the names of all pods.
select name from podroute_catalog.pods

-- name: read_changes
-- Reads the collections that changed after revision $1, by name; tombstones too, unless all are asked for.
select name, dimension, metric, pod, table_schema, table_name, generation, deleted
from podroute_catalog.collections
where revision > $1::bigint and not (deleted and $1::bigint = 0)
order by name

-- name: bound_change
-- Ends the transaction after $1 on the server's side, so that a router that froze does not keep the others out.
select
    pg_catalog.set_config('statement_timeout', $1, true),
    pg_catalog.set_config('idle_in_transaction_session_timeout', $1, true)

-- name: next_revision
-- Counts a change, and keeps other changes waiting until this one has committed.
update podroute_catalog.revision set revision = revision + 1 returning revision

-- name: notify
-- Tells the routers of the revision as soon as it has committed.
select pg_catalog.pg_notify($1, $2)

-- name: find_pods
-- Reads which of the pods $1 are known.
select name from podroute_catalog.pods where name = any($1::text[])

-- name: add_pods
-- Adds those of the pods $1 that are new.
insert into podroute_catalog.pods (name, revision) select pg_catalog.unnest($1::text[]), $2
on conflict (name) do nothing
returning name

-- name: add_collection
-- Adds a collection, or makes a deleted one anew under a later generation; gives no row where the name is taken.
insert into podroute_catalog.collections as c
    (name, dimension, metric, pod, table_schema, table_name, generation, revision)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (name) do update set
    dimension = excluded.dimension,
    metric = excluded.metric,
    pod = excluded.pod,
    table_schema = excluded.table_schema,
    table_name = excluded.table_name,
    generation = greatest(c.generation + 1, excluded.generation),
    deleted = false,
    revision = excluded.revision
where c.deleted
returning generation

-- name: remove_collection
-- Turns a collection (of that generation, where one is given) into its tombstone; gives no row where there is none.
update podroute_catalog.collections set deleted = true, revision = $2
where name = $1 and not deleted and ($3::bigint is null or generation = $3)
returning name

-- name: tell_exposures
-- Tells one set of exposures of collections that there are from another: each change has a revision of its own.
select count(*), max(e.revision), sum(e.revision)::text
from podroute_catalog.exposures e
join podroute_catalog.collections c on c.name = e.collection and not c.deleted

-- name: read_exposures
-- Reads the exposures of collections that there are.
select e.view_schema, e.view_name, e.collection, e.columns, e.roles, e.code_point_order
from podroute_catalog.exposures e
join podroute_catalog.collections c on c.name = e.collection and not c.deleted
order by e.view_schema, e.view_name

-- name: lock_collection
-- Keeps a collection from being removed until the transaction ends; gives no row where there is none.
select from podroute_catalog.collections where name = $1 and not deleted for share

-- name: put_exposure
-- Adds an exposure, or takes the place of one of the same collection, or of one whose collection is gone; gives no row
-- where another collection has it.
insert into podroute_catalog.exposures as e
    (view_schema, view_name, collection, columns, roles, code_point_order, revision)
values ($1, $2, $3, $4::jsonb, $5::text[], $6, $7)
on conflict (view_schema, view_name) do update set
    collection = excluded.collection,
    columns = excluded.columns,
    roles = excluded.roles,
    code_point_order = excluded.code_point_order,
    revision = excluded.revision
where e.collection = excluded.collection
    or exists (select from podroute_catalog.collections c where c.name = e.collection and c.deleted)
returning view_name

-- name: remove_exposure
-- Removes an exposure of the collection; gives no row where there is none.
delete from podroute_catalog.exposures where view_schema = $1 and view_name = $2 and collection = $3
returning view_name
