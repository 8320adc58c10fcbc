-- What every script begins with. KEYS[1] is the channel's head, KEYS[2] its log. ARGV[1] is an epoch that nobody has used,
-- ARGV[2] is the time in milliseconds.
--
-- Fields of the head:
--   e  the epoch            h  the newest message's offset    t  the offset after which messages are kept
--   b  bytes kept           r  the replication id of the process that wrote last
--   o  when the oldest message that is kept was accepted, or '' if that is not known
--   l  the epochs that e goes on from, newest first: "EPOCH:UNTIL,..."
--   w  the node and the append that were the last to write
--   s  where the state was set, or ''    x  the longest age of a message in milliseconds, if there is one
--   kh, kt, kb  the same as h, t and b, of the outcomes of keys

local ANCESTORS = 16
-- For how long the epoch of a channel without any message is remembered.
local UNWRITTEN = 86400000

local fresh, now = ARGV[1], tonumber(ARGV[2])
local epoch, head, trimmed, bytes, lineage, stated, age, oldest

-- A whole number as text. Redis writes numbers among the arguments of a call in the same way, and faster.
local function number(value) return string.format('%d', value) end

-- Redis gives itself another replication id whenever it starts and whenever it becomes a master: whoever wrote under the
-- same id has not lost anything since. Under another one the newest messages may be missing, so that what is appended now
-- must not be taken for them.
local function open()
  local told = redis.call('INFO', 'replication')
  local _, before = string.find(told, 'master_replid:', 1, true)
  local r = before and string.sub(told, before + 1, before + 40) or ''
  local m = redis.call('HMGET', KEYS[1], 'e', 'h', 't', 'b', 'l', 's', 'x', 'r', 'o')
  if not m[1] then
    epoch, head, trimmed, bytes, lineage, stated, age = fresh, 0, 0, 0, '', nil, nil
    redis.call('HSET', KEYS[1], 'e', epoch, 'h', 0, 't', 0, 'b', 0, 'l', '', 's', '', 'r', r)
    redis.call('PEXPIRE', KEYS[1], UNWRITTEN)
    return
  end
  epoch, head, trimmed, bytes = m[1], tonumber(m[2]), tonumber(m[3]), tonumber(m[4])
  lineage, stated, age, oldest = m[5], tonumber(m[6]), m[7] and tonumber(m[7]), m[9] and tonumber(m[9])
  if m[8] ~= r then
    local forks = { epoch .. ':' .. m[2] }
    for fork in string.gmatch(lineage, '[^,]+') do
      if #forks < ANCESTORS then forks[#forks + 1] = fork end
    end
    epoch, lineage = fresh, table.concat(forks, ',')
    redis.call('HSET', KEYS[1], 'e', epoch, 'l', lineage, 'r', r)
  end
end

-- Where a position, "EPOCH.OFFSET", is in the present epoch; nothing if it is not in it.
local function locate(position)
  local e, o = string.match(position, '^(%w+)%.(%d+)$')
  o = tonumber(o)
  if e == epoch then return o end
  local most = head
  for fork, til in string.gmatch(lineage, '(%w+):(%d+)') do
    most = math.min(most, tonumber(til))
    if fork == e then return o <= most and o or nil end
  end
end

-- Whether a position is of an epoch that the present one goes on from, but of a message that was lost.
local function is_lost(position)
  local e = string.match(position, '^(%w+)')
  return not locate(position) and string.find(lineage, e .. ':', 1, true) ~= nil
end

-- Trims what is over, at most so many messages. Says whether the head has to be written: nearly always there is nothing to
-- do, and no look at the log.
local function trim(most_count, most_bytes, most_age, limit)
  local function is_over(at)
    return head - trimmed > most_count or bytes > most_bytes or most_age and now >= at + most_age
  end
  if trimmed >= head or not is_over(oldest or -math.huge) then return false end
  local before, size = trimmed, math.max(head - trimmed - most_count, 0) + 1
  oldest = nil
  while not oldest and trimmed < head and trimmed - before < limit do
    size = math.min(size, limit - (trimmed - before), 64)
    local page = redis.call('XRANGE', KEYS[2], trimmed + 1, '+', 'COUNT', size)
    if #page == 0 then
      trimmed, bytes = head, 0
    end
    for _, entry in ipairs(page) do
      -- t: when it was accepted, w: what it weighs
      local at, weight = tonumber(entry[2][2]), tonumber(entry[2][4])
      if not is_over(at) then
        oldest = at
        break
      end
      trimmed, bytes = trimmed + 1, bytes - weight
    end
    size = 64
  end
  if trimmed > before then
    redis.call('XTRIM', KEYS[2], 'MINID', trimmed + 1)
  end
  return true
end

-- Trims what is too old, some of it at a time.
local function expire()
  if trim(math.huge, math.huge, age, 1000) then
    redis.call('HSET', KEYS[1], 't', trimmed, 'b', bytes, 'o', oldest or '')
  end
end
