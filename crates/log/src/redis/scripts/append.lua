-- Appends messages, sets the state and records the outcome of a key: all of it, or nothing.
--
-- KEYS: head, log; if there is a state or a key also: state, outcomes of keys, order of keys
-- ARGV:  3 where the channel must stand, or ''
--        4 where it is announced  5 this node  6 what this append is called in a chain, or ''
--        7 what the append of this node must be called that was the last here, or ''
--        8 packed: most messages, most bytes, longest age in milliseconds or NONE
--        9 'n' no state, '=' the last message's data, 's' the 10th
--       11 the key  12 its fingerprint, or '' if there is no key
--       13 packed: the key's window in milliseconds, most keys, most bytes of keys, what an outcome weighs besides its key and state
--       then of each message: what it weighs, and how it is written: "LENGTH,LENGTH:" and so many bytes of header and data

open()
expire()

local key, keyed = ARGV[11], ARGV[12] ~= ''
if keyed then
  local outcome = redis.call('HGET', KEYS[4], key)
  if outcome and tonumber(string.match(outcome, '^%d+ (%d+)')) > now then
    return { 'used', outcome }
  end
end
if ARGV[3] ~= '' and locate(ARGV[3]) ~= head then
  return { 'conflict', epoch, head }
end
local this = ARGV[5] .. ':'
if ARGV[7] ~= '' and writer ~= this .. ARGV[7] then
  return { 'conflict', epoch, head }
end
writer = this .. ARGV[6]

local first, messages = head + 1, nil
if trimmed == head then oldest = now end
for i = 14, #ARGV, 2 do
  local weight, message = ARGV[i], ARGV[i + 1]
  head = head + 1
  bytes = bytes + tonumber(weight)
  redis.call('XADD', KEYS[2], head, 't', ARGV[2], 'w', weight, 'm', message)
  messages = messages and messages .. message or message
end

local state
if ARGV[9] == '=' then
  state = string.sub(ARGV[#ARGV], -tonumber(string.match(ARGV[#ARGV], '^%d+,(%d+)')))
elseif ARGV[9] == 's' then
  state = ARGV[10]
end
if state then
  redis.call('SET', KEYS[3], state)
  stated = head
end
local most_count, most_bytes
most_count, most_bytes, age = struct.unpack('>ddd', ARGV[8])
trim(most_count, most_bytes, age, math.huge)
save()
-- What has been written is not forgotten.
if first == 1 then redis.call('PERSIST', KEYS[1]) end

local dropped = 0
if keyed then
  local window, most_keys, most_weight, weighs = struct.unpack('>dddd', ARGV[13])
  -- Numbers of the newest outcome and of the one before the oldest, and what those between them weigh.
  local packed = redis.call('HGET', KEYS[1], 'k')
  local kh, kt, kb = 0, 0, 0
  if packed then kh, kt, kb = struct.unpack('>ddd', packed) end
  local weight = weighs + #key + (state and #state or 0)
  kh, kb = kh + 1, kb + weight
  local begins = number(kh) .. ' ' .. number(now + window)
  -- One that is over may be there under the same key: when its turn in the order comes, it has another number.
  redis.call('HSET', KEYS[4], key, begins .. ' ' .. epoch .. '.' .. number(head) .. ' ' .. ARGV[12] .. ' ' ..
    (state and '=' .. state or '-'))
  redis.call('RPUSH', KEYS[5], begins .. ' ' .. number(weight) .. ' ' .. key)
  while kt < kh do
    local oldest = redis.call('LINDEX', KEYS[5], 0)
    if not oldest then
      kt, kb = kh, 0
      break
    end
    local n, expires, heavy, name = string.match(oldest, '^(%d+) (%d+) (%d+) (.*)$')
    local count = kh - kt
    local over = count > 1 and (count > most_keys or kb > most_weight)
    if tonumber(expires) > now then
      if not over then break end
      dropped = dropped + 1
    end
    redis.call('LPOP', KEYS[5])
    kt, kb = kt + 1, kb - tonumber(heavy)
    local kept = redis.call('HGET', KEYS[4], name)
    if kept and string.match(kept, '^%d+') == n then redis.call('HDEL', KEYS[4], name) end
  end
  redis.call('HSET', KEYS[1], 'k', struct.pack('>ddd', kh, kt, kb))
end

redis.call('PUBLISH', ARGV[4], epoch .. ' ' .. number(first) .. ' ' .. number(head - first + 1) .. ' ' .. number(trimmed) ..
  ' ' .. ARGV[2] .. ' ' .. ARGV[5] .. ' ' .. ARGV[9] .. '\n' .. (messages or '') .. ARGV[10])
return { 'ok', epoch, head, trimmed, dropped }
