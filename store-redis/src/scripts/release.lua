-- ARGV: the lock, the effect (N none, U unknown, S settled), the padding in ms.
if not is_lock(ARGV[1]) then return 0 end
local effect, pad = ARGV[2], tonumber(ARGV[3])
if state == C then return 0 end
if state == P then
  local unknown_until = remembered_from(now, num(93))
  local before, to, until_us = '', 'U', unknown_until
  if effect == 'U' then
    before = sub(r, 65, 68) .. sub(r, 22, 29) .. struct.pack('>I8', now) .. '\1' .. struct.pack('>I8', unknown_until)
  elseif effect == 'N' and has(PRIOR) then
    -- This attempt can speak only for itself.
    before = prior()
  else
    to, until_us = 'R', now + num(85)
  end
  local record = 'idr\1' .. to .. sub(r, 6, 29) .. string.char(with(with(0, NOTES, has(NOTES)), PRIOR, before ~= ''))
    .. sub(r, 31, 76)
    .. struct.pack('>I8', until_us) .. before .. notes()
  keep(record, until_us, pad)
  return 1
end
-- It is over: by a release with this effect, whose answer was lost?
if state == R then return effect ~= 'U' and 1 or 0 end
local own_word = has(PRIOR) and sub(r, 85, 88) == sub(r, 65, 68)
if own_word then return effect == 'U' and 1 or 0 end
return effect == 'N' and 1 or 0
