local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local r = redis.call('GET', KEYS[1])
if r and string.sub(r, 1, 4) ~= 'idr\1' then
  return redis.error_reply('FOREIGN ' .. #r)
end
local byte, sub = string.byte, string.sub
local P, U, R, C = 80, 85, 82, 67
local PADDED, CONFIRMED, PRIOR, NOTES = 1, 2, 4, 8
local state, flags = nil, 0
if r then state, flags = byte(r, 5), byte(r, 30) end

local function damaged(why) return redis.error_reply('DAMAGED ' .. why) end
if r and not (state == P or state == R or state == C or state == U) then return damaged('it has no such state') end
if state == U and math.floor(flags / PRIOR) % 2 == 0 then return damaged('it does not say which attempt is unknown') end

local function num(at) return (struct.unpack('>I8', r, at)) end
local function has(flag) return math.floor(flags / flag) % 2 == 1 end
local function with(all, flag, on)
  local is = math.floor(all / flag) % 2 == 1
  if on and not is then return all + flag elseif is and not on then return all - flag else return all end
end

-- Where the attempt before, if there is one, begins.
local function prior_at()
  if state == P then return 101 elseif state == C then return 93 else return 85 end
end
local function prior()
  if has(PRIOR) then local at = prior_at() return sub(r, at, at + 28) else return '' end
end
local function notes()
  if not has(NOTES) then return '' end
  local at = prior_at()
  if has(PRIOR) then at = at + 29 end
  return sub(r, at, at + 1 + struct.unpack('>I2', r, at))
end
local function remembered_until(prior)
  if prior == '' then return 0 else return (struct.unpack('>I8', prior, 22)) end
end

-- A lock that was taken by SET NX carries no time of the server's: its key's expiry tells it.
-- Asked in any case, so that whoever opens the store finds out whether it may.
local expires = redis.call('PEXPIRETIME', KEYS[1])
local lease_until = 0
if state == P then
  lease_until = num(77)
  if lease_until == 0 then
    -- Somebody took the expiry away: it may be held, and is not to be forgotten.
    if expires < 0 then return damaged('its expiry is gone, which told the end of its lease') end
    lease_until = expires * 1000 - num(93)
  end
end
local function remembered_from(at, unknown_retention)
  return math.max(at + unknown_retention, remembered_until(prior()))
end
local forgotten
if state == P then forgotten = remembered_from(lease_until, num(93))
elseif state == C and not has(PADDED) then forgotten = math.huge
elseif state == C then forgotten = num(85)
elseif r then forgotten = num(77) end
local known = r and now < forgotten
local function is_lock(lock) return known and sub(r, 6, 29) == lock end

-- Keeps a record until `at`, and for `pad` milliseconds at least: so long a step back of the clock
-- repeats no fence.
local function keep(record, at, pad)
  local least = math.floor(now / 1000) + pad
  local until_ms = math.ceil(at / 1000)
  local padded = until_ms < least
  record = sub(record, 1, 29) .. string.char(with(byte(record, 30), PADDED, padded)) .. sub(record, 31)
  redis.call('SET', KEYS[1], record, 'PXAT', string.format('%.0f', math.max(until_ms, least)))
  return record
end
