select coalesce(l.epoch, s.epoch), case when l.topic is null then coalesce(b.births, 0) else l.head end
from {s}.store s, unnest($1::text[]) with ordinality as t (topic, at)
left join {s}.topics l on l.topic = t.topic collate "C"
  and (l.gone_at is null or l.gone_at > {s}.clock())
left join {s}.births b on l.topic is null and b.bucket = {s}.bucket(t.topic)
order by t.at
