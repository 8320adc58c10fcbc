-- Where a channel stands, and what it has after a position.
--
-- KEYS: head, log, state
-- ARGV: 3 a position that was told to readers, or ''  4 most messages  5 most bytes  6 where it is announced
--       7 '1' if the state is asked for  8 an offset, instead of a position, or ''
--
-- Answers the epoch, its lineage, the newest offset, the offset after which messages are kept, where the state was set, the
-- state, where the position is in this epoch (NONE if it is not), and of each message when it was accepted, and how it is written.

-- Whether a position is of an epoch that the present one goes on from, but of a message that was lost.
local function is_lost(position)
  local e = string.match(position, '^(%w+)')
  return not locate(position) and string.find(ancestors(), e .. ':', 1, true) ~= nil
end

open()
expire()
local at
if ARGV[3] ~= '' then
  if is_lost(ARGV[3]) then
    -- Somebody was told of messages that are gone, and others may have been promised them: nobody goes on as if nothing
    -- had been.
    epoch, lineage = ARGV[1], ''
    redis.call('HSET', KEYS[1], 'l', '')
    save()
    redis.call('PUBLISH', ARGV[6], epoch .. ' ' .. number(head + 1) .. ' 0 ' .. number(trimmed) .. ' ' .. ARGV[2] .. ' - n\n')
  end
  at = locate(ARGV[3])
end
if ARGV[8] ~= '' then at = tonumber(ARGV[8]) end
if at and at > head then at = nil end
if redis.call('PTTL', KEYS[1]) >= 0 then redis.call('PEXPIRE', KEYS[1], UNWRITTEN) end
local state = ARGV[7] == '1' and stated ~= NONE and redis.call('GET', KEYS[3]) or ''
local reply = { epoch, ancestors(), head, trimmed, stated, state, at or NONE }
local limit, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local after = at and math.max(at, trimmed)
local size, given = 0, 0
while after and after < head and given < limit do
  local page = redis.call('XRANGE', KEYS[2], number(after + 1) .. '-0', '+', 'COUNT', math.min(limit - given, 64))
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    local fields = entry[2]
    size = size + tonumber(fields[4])
    if given > 0 and size > most then return reply end
    reply[#reply + 1] = fields[2]
    reply[#reply + 1] = fields[6]
    given = given + 1
    after = after + 1
  end
end
return reply
