-- All that a read needs, of one moment. `asked` is where to begin: after $3 in the epoch $2, or $2 is
-- null and it is with the newest $3 events; a number of all is the oldest. The page has at most $5
-- records, and $4 bytes unless the first alone is larger.
with store as (
  select s.*, {s}.clock() as now from {s}.store s
), log as (
  select t.* from {s}.topics t, store s where t.topic = $1 and (t.gone_at is null or t.gone_at > s.now)
), asked as (
  select l.log, l.head, l.first, l.bytes / greatest(l.events, 1) as average, case
    when $2::bigint is null and $3::bigint = 0 then l.head
    when $2::bigint is null and $3::bigint >= l.events then l.first
    when $2::bigint is null and l.others = 0 then greatest(l.head - $3::bigint, l.first)
    when $2::bigint is null then (
      select r."offset" - 1 from {s}.records r
      where r.log = l.log and r.kind = 0 and r."offset" > l.first
      order by r."offset" desc offset $3::bigint - 1 limit 1)
    when $2::bigint = l.from_epoch and $3 = l.from_births then 0
    when $2::bigint = l.epoch then $3::bigint
  end as after
  from log l
), candidates as (
  select r.* from {s}.records r
  where r.log = (select a.log from asked a)
    and r."offset" > (select a.after from asked a where a.after >= a.first)
  order by r."offset"
  limit (select least($5::bigint, $4::bigint / greatest(a.average, 1) + 1) from asked a)
), summed as (
  select c.*, row_number() over (order by c."offset") as number,
    sum(octet_length(c.data) + coalesce(octet_length(c.name), 0)) over (order by c."offset") as total
  from candidates c
), page as (
  select array_agg(p."offset" order by p."offset") as offsets, array_agg(p.kind order by p."offset") as kinds,
    array_agg(p.name order by p."offset") as names, array_agg(p.data order by p."offset") as datas,
    array_agg(p.time order by p."offset") as times
  from summed p where p.number = 1 or p.total <= $4::bigint
)
select s.epoch, coalesce((select b.births from {s}.births b where b.bucket = {s}.bucket($1)), 0) as births,
  l.topic is not null as has_log, l.epoch as log_epoch, l.head, l.first, l.uncounted, a.after,
  l.from_epoch is not distinct from $2::bigint and l.from_births = $3::bigint as from_beginning,
  coalesce(l.events > s.max_events or l.bytes > s.max_bytes or (s.max_age is not null and s.now >= s.max_age + (
    select r.time from {s}.records r where r.log = l.log and r."offset" > l.first
    order by r."offset" limit 1)), false) as is_crowded,
  p.offsets, p.kinds, p.names, p.datas, p.times
from store s left join log l on true left join asked a on true left join page p on true
