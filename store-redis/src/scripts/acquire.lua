-- ARGV: the record of a first attempt, its lease in µs, whether an operator asks, the padding in ms.
local claim, lease, settles, pad = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4])
local function answer(record, granted)
  return {string.format('%.0f', now), record, expires, granted}
end
local function renewed(record, until_us)
  return sub(record, 1, 76) .. struct.pack('>I8', until_us) .. sub(record, 85)
end

local fence, attempt, before, on_unknown = now, 1, '', byte(claim, 31)
if r then fence = math.max(fence, num(22) + 1) end
if known then
  local free = state == R
  if state == P and now >= lease_until and not has(CONFIRMED) then free = not has(PRIOR) end
  if not free and sub(r, 32, 64) ~= sub(claim, 32, 64) then return answer(r, 0) end
  if sub(r, 6, 21) == sub(claim, 6, 21) then
    -- The first answer was lost: the same lock again, its lease counted anew.
    if state == P then
      local until_us = now + lease
      return answer(keep(renewed(r, until_us), remembered_from(until_us, num(93)), pad), 1)
    end
    -- An old message that came late must not lock again.
    return answer(r, 0)
  end
  if state == C or (state == P and now < lease_until) then return answer(r, 0) end
  if not free then
    -- Some attempt is unknown: this one, or one before it.
    local theirs, ours = byte(r, 31), on_unknown
    if not settles and (ours == 2 or ours < theirs) then return answer(r, 0) end
    if settles then on_unknown = theirs else on_unknown = math.max(ours, theirs) end
    if state == P and has(CONFIRMED) then
      before = sub(r, 65, 68) .. sub(r, 22, 29) .. struct.pack('>I8', lease_until) .. '\0' .. struct.pack('>I8', forgotten)
    else
      before = prior()
    end
  else
    on_unknown = math.max(on_unknown, byte(r, 31))
  end
  attempt = struct.unpack('>I4', r, 65)
  if attempt < 4294967295 then attempt = attempt + 1 end
end

local until_us = now + lease
local claim_flags = with(byte(claim, 30), PRIOR, before ~= '')
local record = sub(claim, 1, 21) .. struct.pack('>I8', fence) .. string.char(claim_flags)
  .. string.char(on_unknown) .. sub(claim, 32, 64) .. struct.pack('>I4I8I8', attempt, now, until_us)
  .. sub(claim, 85, 100) .. before .. sub(claim, 101)
local unknown_retention = (struct.unpack('>I8', claim, 93))
return answer(keep(record, math.max(until_us + unknown_retention, remembered_until(before)), pad), 1)
