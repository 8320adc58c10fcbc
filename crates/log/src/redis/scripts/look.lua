-- Where a channel stands, and what it has after a position.
--
-- KEYS: head, log, state
-- ARGV: 3 a position that was told to readers, or ''  4 most messages  5 most bytes
--       6 PUBLISH or SPUBLISH  7 where to  8 '1' if the state is asked for  9 an offset, instead of a position, or ''
--
-- Answers the epoch, its lineage, the newest offset, the offset after which messages are kept, where the state was set, the
-- state, where the position is in this epoch ('' if it is not), and of each message when it was accepted, its header and
-- its data.

open()
expire()
local at
if ARGV[3] ~= '' then
  if is_lost(ARGV[3]) then
    -- Somebody was told of messages that are gone, and others may have been promised them: nobody goes on as if nothing
    -- had been.
    epoch, lineage = fresh, ''
    redis.call('HSET', KEYS[1], 'e', epoch, 'l', '')
    redis.call(ARGV[6], ARGV[7], epoch .. ' ' .. number(head + 1) .. ' 0 ' .. number(trimmed) .. ' ' .. ARGV[2] .. ' - n\n')
  end
  at = locate(ARGV[3])
end
if ARGV[9] ~= '' then at = tonumber(ARGV[9]) end
if at and at > head then at = nil end
if redis.call('PTTL', KEYS[1]) >= 0 then redis.call('PEXPIRE', KEYS[1], UNWRITTEN) end
local state = ARGV[8] == '1' and stated and redis.call('GET', KEYS[3]) or ''
local reply = { epoch, lineage, number(head), number(trimmed), stated and number(stated) or '', state, at and number(at) or '' }
local limit, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local after = at and math.max(at, trimmed)
local size, given = 0, 0
while after and after < head and given < limit do
  local page = redis.call('XRANGE', KEYS[2], number(after + 1) .. '-0', '+', 'COUNT', math.min(limit - given, 64))
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    local data = entry[2][8]
    size = size + #data
    if given > 0 and size > most then return reply end
    reply[#reply + 1] = entry[2][2]
    reply[#reply + 1] = entry[2][6]
    reply[#reply + 1] = data
    given = given + 1
    after = after + 1
  end
end
return reply
