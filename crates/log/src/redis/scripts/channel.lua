-- What every script begins with. KEYS[1] is the channel's head, KEYS[2] its log. ARGV[1] is an epoch that nobody has used,
-- ARGV[2] is the time in milliseconds.
--
-- Fields of the head:
--   p  what changes with every append, packed (see HEAD)
--   l  the epochs that the present one goes on from, newest first: "EPOCH:UNTIL,..."
--   k  numbers about the outcomes of keys, packed (see append.lua)
-- Of what is done here, packing numbers is cheap, and writing them out or reading them from text is not; nor is a field more.

local ANCESTORS = 16
-- For how long the epoch of a channel without any message is remembered.
local UNWRITTEN = 86400000
-- The newest message's offset, the offset after which messages are kept, their bytes, where the state was set, the longest age
-- of a message in milliseconds, when the oldest that is kept was accepted, the epoch, the replication id of the process that
-- wrote last, the node and the append that were the last to write. NONE is a number that is not there or not known.
local HEAD, NONE = '>ddddddsss', -1

local now, lineage = tonumber(ARGV[2]), nil
local head, trimmed, bytes, stated, age, oldest, epoch, process, writer

local function save()
  redis.call('HSET', KEYS[1], 'p',
    struct.pack(HEAD, head, trimmed, bytes, stated, age, oldest, epoch, process, writer))
end

-- A whole number as text.
local function number(value) return string.format('%d', value) end

-- Redis gives itself another replication id whenever it starts and whenever it becomes a master: whoever wrote under the
-- same id has not lost anything since. Under another one the newest messages may be missing, so that what is appended now
-- must not be taken for them.
local function open()
  local told = redis.call('INFO', 'replication')
  local _, before = string.find(told, 'master_replid:', 1, true)
  local this = before and string.sub(told, before + 1, before + 40) or ''
  local packed = redis.call('HGET', KEYS[1], 'p')
  if packed then
    head, trimmed, bytes, stated, age, oldest, epoch, process, writer = struct.unpack(HEAD, packed)
    if process == this then return end
    local forks = { epoch .. ':' .. number(head) }
    for fork in string.gmatch(redis.call('HGET', KEYS[1], 'l') or '', '[^,]+') do
      if #forks < ANCESTORS then forks[#forks + 1] = fork end
    end
    epoch, process, lineage = ARGV[1], this, table.concat(forks, ',')
    redis.call('HSET', KEYS[1], 'l', lineage)
    save()
  else
    head, trimmed, bytes, stated, age, oldest, epoch, process, writer = 0, 0, 0, NONE, NONE, NONE, ARGV[1], this, ''
    save()
    redis.call('PEXPIRE', KEYS[1], UNWRITTEN)
  end
end

local function ancestors()
  lineage = lineage or redis.call('HGET', KEYS[1], 'l') or ''
  return lineage
end

-- Where a position, "EPOCH.OFFSET", is in the present epoch; nothing if it is not in it.
local function locate(position)
  local e, o = string.match(position, '^(%w+)%.(%d+)$')
  o = tonumber(o)
  if e == epoch then return o end
  local most = head
  for fork, til in string.gmatch(ancestors(), '(%w+):(%d+)') do
    most = math.min(most, tonumber(til))
    if fork == e then return o <= most and o or nil end
  end
end

-- Trims what is over, at most so many messages. Says whether the head has to be written: nearly always there is nothing to
-- do, and no look at the log.
local function trim(most_count, most_bytes, most_age, limit)
  local function is_over(at)
    return head - trimmed > most_count or bytes > most_bytes or most_age ~= NONE and now >= at + most_age
  end
  if trimmed >= head or not is_over(oldest) then return false end
  local before, size = trimmed, math.max(head - trimmed - most_count, 0) + 1
  oldest = NONE
  while oldest == NONE and trimmed < head and trimmed - before < limit do
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
  if age ~= NONE and trim(math.huge, math.huge, age, 1000) then save() end
end
