#!lua name=tower_sse

-- The log behind a topic. All writing goes through here, so that it is atomic, in any language.
--
-- <prefix>:<topic>    stream, the records: <offset>-0 = time, [kind], [name], data, [previous]
-- <prefix>:<topic>#   hash, the log: epoch, head, first, ..
-- <prefix>#           hash, the store: epoch, max_events, max_bytes, max_age; also the channel
-- <prefix>#births     hash, how many logs began in each bucket of topic names
--
-- Nothing is written before everything was checked: an error means that nothing was stored.

local VERSION = 1
local MAX_EVENTS, MAX_BYTES = 10000, 16 * 1024 * 1024
-- What is trimmed is read in chunks.
local CHUNK = 128
local KINDS = {event = true, lease = true, ['end'] = true}
local FIELDS = {
  'epoch', 'from', 'session', 'head', 'first', 'events', 'bytes', 'others', 'holes', 'uncounted',
  'jumped', 'time', 'gone',
}
local TEXTS = {epoch = true, from = true, session = true}

-- Names this run of Redis: it is kept in memory only, so a restart or a failover brings another one.
-- Either may have lost what came last, and nobody remembers how far the log went. So the first append
-- of a session jumps ahead by a random distance: a position of the lost future then lies where no
-- record was ever, and is told from one of this log. The record names the one before it.
local session
local JUMP_DIGITS = 8

-- A number in digits: tostring() knows only 14 of them.
local function digits(number)
  return string.format('%.0f', number)
end

local function position(epoch, offset)
  return epoch .. '-' .. digits(offset)
end

-- The time in milliseconds, and as a text that never comes again.
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), time[1] .. '.' .. time[2]
end

-- A new epoch of 40 bits, which keep the ids short.
local function mint(...)
  local hex = redis.sha1hex(table.concat({...}, ' '))
  return (string.gsub(string.sub(hex, 1, 10), '^0+(.)', '%1'))
end

-- The same as `bucket` of the crate.
local function bucket(topic)
  local hash = 0
  for at = 1, #topic do
    hash = (hash * 65599 + string.byte(topic, at)) % 4294967296
  end
  return digits((hash + math.floor(hash / 65536)) % 65536)
end

local function is_text(text)
  if not string.find(text, '[\128-\255]') then return true end
  local rest = text
  for _, valid in ipairs({
    '[\194-\223][\128-\191]',
    '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]', '\237[\128-\159][\128-\191]',
    '\240[\144-\191][\128-\191][\128-\191]', '[\241-\243][\128-\191][\128-\191][\128-\191]',
    '\244[\128-\143][\128-\191][\128-\191]',
  }) do
    -- By a space, so that nothing becomes neighbours.
    rest = string.gsub(rest, valid, ' ')
  end
  return not string.find(rest, '[\128-\255]')
end

local function refuse(code, why)
  return redis.error_reply(code .. ' ' .. why)
end

local function prefix_of(keys)
  if #keys ~= 1 or keys[1] == '' or string.find(keys[1], '#') then
    return nil, refuse('INVALID', 'the one key is the prefix of the store, without #')
  end
  return keys[1]
end

local function topic_of(args)
  local topic = args[1] or ''
  if #topic == 0 or #topic > 200 or string.find(topic, '[^A-Za-z0-9_.:/-]') then
    return nil, refuse('INVALID', 'a topic is 1 to 200 bytes of A-Z a-z 0-9 - _ . : /')
  end
  return topic
end

-- The settings of the store, and those of `wanted` where there are none yet.
local function open_store(prefix, wanted, replace)
  local key = prefix .. '#'
  local stored = redis.call('HMGET', key, 'epoch', 'max_events', 'max_bytes', 'max_age')
  local epoch, events, bytes, age = unpack(stored)
  if not epoch then
    local _, moment = clock()
    epoch = mint('store', prefix, moment)
    redis.call('HSET', key, 'epoch', epoch)
  end
  if wanted and wanted[1] ~= '' and (replace or not events) then
    events, bytes, age = unpack(wanted)
    redis.call('HSET', key, 'max_events', events, 'max_bytes', bytes, 'max_age', age)
  end
  return {
    epoch = epoch,
    max_events = tonumber(events or '') or MAX_EVENTS,
    max_bytes = tonumber(bytes or '') or MAX_BYTES,
    max_age = tonumber(age or ''),
  }
end

-- The log, nil if there is none, or an error.
local function load_log(prefix, topic)
  local stream = prefix .. ':' .. topic
  local values = redis.call('HMGET', stream .. '#', unpack(FIELDS))
  local length = redis.call('XLEN', stream)
  local log = {stream = stream, meta = stream .. '#'}
  if not values[1] then
    if length > 0 then
      return nil, refuse('DAMAGED', stream .. ' has entries and no log: DEL it to begin anew')
    end
    return nil
  end
  for at, field in ipairs(FIELDS) do
    log[field] = values[at]
    if not TEXTS[field] then
      log[field] = tonumber(values[at] or '0')
      if not log[field] then return nil, refuse('DAMAGED', log.meta .. ' is no log: ' .. field) end
    end
  end
  log.missing = log.head - log.first - log.holes - length
  if log.missing < 0 then
    return nil, refuse('DAMAGED', stream .. ' has entries that were added past tower_sse_append')
  end
  return log
end

local function save(log)
  redis.call('HSET', log.meta, 'epoch', log.epoch, 'from', log.from, 'head', digits(log.head),
    'first', digits(log.first), 'events', digits(log.events), 'bytes', digits(log.bytes),
    'others', digits(log.others), 'holes', digits(log.holes), 'uncounted', digits(log.uncounted),
    'session', session, 'jumped', digits(log.jumped), 'time', digits(log.time))
end

-- The offset, time, kind and size of an entry, and the offset before it where that is not one less.
local function parse(entry)
  local fields, size = {}, 0
  for at = 1, #entry[2], 2 do fields[entry[2][at]] = entry[2][at + 1] end
  local offset = tonumber(string.match(entry[1], '^(%d+)%-0$') or '')
  size = #(fields.data or '') + #(fields.name or '')
  return offset, tonumber(fields.time or '') or 0, fields.kind or 'event', size, tonumber(fields.previous or '')
end

-- Counts anew what stands in the stream, after entries were deleted past the functions.
local function recount(log)
  log.events, log.bytes, log.others, log.uncounted = 0, 0, 0, log.head
  local oldest, length, from = nil, 0, '-'
  repeat
    local chunk = redis.call('XRANGE', log.stream, from, '+', 'COUNT', CHUNK)
    for _, entry in ipairs(chunk) do
      local offset, _, kind, size, previous = parse(entry)
      oldest = oldest or (previous or offset - 1)
      length = length + 1
      if kind == 'event' then
        log.events, log.bytes = log.events + 1, log.bytes + size
      else
        log.others = log.others + 1
      end
      from = '(' .. entry[1]
    end
  until #chunk < CHUNK
  log.first = oldest or log.head
  log.holes = log.head - log.first - length
  log.missing = 0
end

-- Takes the oldest away until the limits hold. Returns whether any went.
local function trim(log, store, now)
  local before = log.first
  while log.first < log.head do
    local over = log.events - store.max_events
    if over <= 0 and log.bytes <= store.max_bytes and not store.max_age then break end
    local chunk = redis.call('XRANGE', log.stream, '-', '+', 'COUNT', math.max(1, math.min(over, CHUNK)))
    local first = log.first
    if #chunk == 0 then
      log.first, log.events, log.bytes, log.others, log.holes = log.head, 0, 0, 0, 0
    end
    for _, entry in ipairs(chunk) do
      local offset, time, kind, size, previous = parse(entry)
      local full = log.events > store.max_events or log.bytes > store.max_bytes
      local old = store.max_age and time + store.max_age <= now
      if not offset or not (full or old) then break end
      log.holes = log.holes - (offset - log.first - 1)
      log.first = offset
      if kind == 'event' then
        log.events, log.bytes = log.events - 1, log.bytes - size
      else
        log.others, log.uncounted = log.others - 1, offset
      end
      if previous then log.uncounted = offset end
    end
    if log.first == first then break end
    redis.call('XTRIM', log.stream, 'MINID', digits(log.first + 1) .. '-0')
  end
  return log.first ~= before
end

-- A caller that saw more than there is knows that an older copy was put back. What it saw is of a
-- future that was lost, so it becomes another life.
local function renew(prefix, topic, store, log, births, seen)
  local epoch, offset = string.match(seen or '', '^(%x+)%-(%d+)$')
  if not epoch then return end
  local _, moment = clock()
  if log and log.epoch == epoch and log.head < tonumber(offset) then
    log.epoch = mint('again', topic, epoch, moment)
    redis.call('HSET', log.meta, 'epoch', log.epoch)
  elseif store.epoch == epoch and births < tonumber(offset) then
    store.epoch = mint('again', prefix, epoch, moment)
    redis.call('HSET', prefix .. '#', 'epoch', store.epoch)
  end
end

local function end_of_life(log, gone_after, now)
  if gone_after then
    redis.call('HSET', log.meta, 'gone', 1)
    for _, key in ipairs({log.stream, log.meta}) do
      redis.call('PEXPIREAT', key, digits(now + gone_after))
    end
  elseif log.gone == 1 then
    redis.call('HDEL', log.meta, 'gone')
    for _, key in ipairs({log.stream, log.meta}) do redis.call('PERSIST', key) end
  end
end

local function check_records(records, store)
  for _, record in ipairs(records) do
    local name, data = record.name, record.data
    if #name + #data > store.max_bytes then
      return refuse('TOOLARGE', 'a record is at most ' .. digits(store.max_bytes) .. ' bytes')
    end
    if not KINDS[record.kind] then return refuse('INVALID', 'a kind is event, lease or end') end
    if string.find(name, '[\r\n]') or string.find(name, '^sse%.') or not is_text(name) then
      return refuse('INVALID', 'a name is UTF-8 without line breaks, and does not begin with sse.')
    end
    if not is_text(data) then return refuse('INVALID', 'data is UTF-8') end
  end
end

-- Returns whether it was stored and the position, or an error.
local function append(prefix, topic, records, options)
  local store = open_store(prefix, options.limits)
  local invalid = check_records(records, store)
  if invalid then return nil, invalid end
  local log, damaged = load_log(prefix, topic)
  if damaged then return nil, damaged end
  local births_key, field, births = prefix .. '#births', nil, 0
  if not log or string.sub(options.seen or '', 1, #store.epoch) == store.epoch then
    field = bucket(topic)
    births = tonumber(redis.call('HGET', births_key, field) or '0')
  end
  renew(prefix, topic, store, log, births, options.seen)
  local head = log and position(log.epoch, log.head) or position(store.epoch, births)
  if options.condition and options.condition ~= head then return false, head end

  local now, moment = clock()
  if #records == 0 then
    if log then end_of_life(log, options.gone_after, now) end
    return true, head
  end
  session = session or mint('session', moment)
  local is_new = not log
  if is_new then
    local stream = prefix .. ':' .. topic
    -- It has no entries, but it may have had.
    redis.call('DEL', stream)
    log = {
      stream = stream, meta = stream .. '#', epoch = mint('log', prefix, topic, moment), from = head,
      session = session, head = 0, first = 0, events = 0, bytes = 0, others = 0, holes = 0,
      uncounted = 0, jumped = 0, time = 0, gone = 0, missing = 0,
    }
  end
  -- The clock may be set back; the order of what goes first does not follow it.
  log.time = math.max(log.time, now)
  local last, previous = log.head, nil
  if log.session ~= session then
    local hex = redis.sha1hex(table.concat({'jump', topic, moment}, ' '))
    local distance = 1 + tonumber(string.sub(hex, 1, JUMP_DIGITS), 16)
    previous, last = last, last + distance
    log.holes, log.jumped = log.holes + distance, last + 1
  end
  for at, record in ipairs(records) do
    local entry = {'XADD', log.stream, digits(last + at) .. '-0', 'time', digits(log.time)}
    if record.kind ~= 'event' then
      entry[#entry + 1], entry[#entry + 2] = 'kind', record.kind
      log.others = log.others + 1
    else
      log.events, log.bytes = log.events + 1, log.bytes + #record.name + #record.data
    end
    if record.name ~= '' then entry[#entry + 1], entry[#entry + 2] = 'name', record.name end
    entry[#entry + 1], entry[#entry + 2] = 'data', record.data
    if at == 1 and previous then entry[#entry + 1], entry[#entry + 2] = 'previous', digits(previous) end
    local added = redis.pcall(unpack(entry))
    if type(added) == 'table' and added.err then
      -- Only the first can fail, before anything was written.
      return nil, refuse('DAMAGED', log.stream .. ' refuses the next entry: ' .. added.err)
    end
    log.head = last + at
  end
  if is_new then redis.call('HINCRBY', births_key, field, 1) end
  if log.missing > 0 then recount(log) end
  trim(log, store, log.time)
  save(log)
  end_of_life(log, options.gone_after, now)
  -- A hint. That it may not be sent is no reason to fail what is stored.
  redis.pcall('PUBLISH', prefix .. '#', topic)
  return true, position(log.epoch, log.head)
end

-- FCALL tower_sse_append 1 <prefix> <topic> <data> [<name>]
-- Appends one event. Returns its id.
local function append_event(keys, args)
  local prefix, bad_prefix = prefix_of(keys)
  if bad_prefix then return bad_prefix end
  local topic, bad_topic = topic_of(args)
  if bad_topic then return bad_topic end
  if #args < 2 or #args > 3 then return refuse('INVALID', 'expected: topic data [name]') end
  local record = {kind = 'event', data = args[2], name = args[3] or ''}
  local _, answer = append(prefix, topic, {record}, {})
  return answer
end

-- FCALL tower_sse_append_all 1 <prefix> <topic> <while head> <gone after> <seen>
--   <max events> <max bytes> <max age> [<kind> <name> <data>].. (an option that is empty is none)
-- Appends all or nothing. Returns "stored" or "conflict", and the head.
local function append_all(keys, args)
  local prefix, bad_prefix = prefix_of(keys)
  if bad_prefix then return bad_prefix end
  local topic, bad_topic = topic_of(args)
  if bad_topic then return bad_topic end
  if #args < 7 or (#args - 7) % 3 ~= 0 or #args[3] > 14 then
    return refuse('INVALID', 'expected: topic, 6 options, and 3 arguments for each record')
  end
  local records = {}
  for at = 8, #args, 3 do
    records[#records + 1] = {kind = args[at], name = args[at + 1], data = args[at + 2]}
  end
  local stored, answer = append(prefix, topic, records, {
    condition = args[2] ~= '' and args[2] or nil,
    gone_after = tonumber(string.match(args[3], '^%d+$') or ''),
    seen = args[4],
    limits = {args[5], args[6], args[7]},
  })
  if stored == nil then return answer end
  return {stored and 'stored' or 'conflict', answer}
end

-- FCALL tower_sse_open 1 <prefix> <replace> <max events> <max bytes> <max age>
-- Makes the settings of the store where there are none, or in any case with "replace".
local function open(keys, args)
  local prefix, bad_prefix = prefix_of(keys)
  if bad_prefix then return bad_prefix end
  open_store(prefix, {args[2], args[3], args[4]}, args[1] == 'replace')
  return redis.status_reply('OK')
end

-- FCALL tower_sse_trim 1 <prefix> <topic>
-- Takes away what is beyond the limits of today.
local function trim_topic(keys, args)
  local prefix, bad_prefix = prefix_of(keys)
  if bad_prefix then return bad_prefix end
  local topic, bad_topic = topic_of(args)
  if bad_topic then return bad_topic end
  local store = open_store(prefix)
  local log, damaged = load_log(prefix, topic)
  if damaged then return damaged end
  if log then
    local was_missing = log.missing > 0
    if was_missing then recount(log) end
    local now = clock()
    if trim(log, store, math.max(log.time, now)) or was_missing then save(log) end
  end
  return redis.status_reply('OK')
end

-- FCALL tower_sse_renew 1 <prefix> <topic> <seen>
-- Begins another life where the log, or the store, is behind the position that was seen.
local function renew_topic(keys, args)
  local prefix, bad_prefix = prefix_of(keys)
  if bad_prefix then return bad_prefix end
  local topic, bad_topic = topic_of(args)
  if bad_topic then return bad_topic end
  local store = open_store(prefix)
  local log, damaged = load_log(prefix, topic)
  if damaged then return damaged end
  local births = tonumber(redis.call('HGET', prefix .. '#births', bucket(topic)) or '0')
  renew(prefix, topic, store, log, births, args[2])
  return redis.status_reply('OK')
end

redis.register_function('tower_sse_append', append_event)
redis.register_function('tower_sse_append_all', append_all)
-- What reading needs goes on where memory is short.
redis.register_function{function_name = 'tower_sse_open', callback = open, flags = {'allow-oom'}}
redis.register_function{function_name = 'tower_sse_trim', callback = trim_topic, flags = {'allow-oom'}}
redis.register_function{function_name = 'tower_sse_renew', callback = renew_topic, flags = {'allow-oom'}}
redis.register_function{
  function_name = 'tower_sse_version',
  callback = function() return VERSION end,
  flags = {'no-writes'},
}
