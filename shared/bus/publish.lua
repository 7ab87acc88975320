-- Store deltas in the live log of one claim and publish them, in one atomic step.
--
-- KEYS[1]  the live log of the claim, a stream: entry ids are <attempt>-<end offset>;
--          one field each: "open", "d" (deltas) or "fence"
-- ARGV[1]  the channel of the message
-- ARGV[2]  attempt        the worker's, in the id of every entry of its log
-- ARGV[3]  start          the offset at which the payload begins
-- ARGV[4]  end            the offset at which it ends
-- ARGV[5]  payload        JSON, as written by coding.py; it begins with the claim
-- ARGV[6]  trim           entries that end before this offset are saved in Postgres
-- ARGV[7]  ttl            milliseconds after which a log that begins here goes by itself
-- ARGV[8]  "1"            write even if something before start is missing (see "missing")
--
-- Returns "written"  stored and published
--         "landed"   stored by this claim before: the reply had been lost on the way
--         "missing"  nothing written: the log does not reach start, so Redis lost something
--         "fenced"   nothing written: a sweep has ended the claim
--
-- A log whose newest entry is foreign, neither of this claim nor a fence, is as good as lost: it is
-- "missing", and an owner who then confirms that the message is still its own begins the log anew.

-- Characters at the beginning of each payload that name the claim (coding.py's `head`, in part).
local HEAD = 39

local attempt, start, finish = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local found = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local newest = found[1]
local newest_end = -1
local foreign = found.err ~= nil
if newest then
  local name, value = newest[2][1], newest[2][2]
  if name == 'fence' then return 'fenced' end
  local a, e = string.match(newest[1], '^(%d+)%-(%d+)$')
  if tonumber(a) == attempt and (name == 'open'
      or name == 'd' and string.sub(value, 1, HEAD) == string.sub(ARGV[5], 1, HEAD)) then
    newest_end = tonumber(e)
  else
    foreign = true
  end
end
if newest_end >= finish then return 'landed' end
if newest_end < start and ARGV[8] ~= '1' then return 'missing' end
if foreign then redis.call('DEL', KEYS[1]) end
redis.call('XADD', KEYS[1], 'MINID', ARGV[2] .. '-' .. ARGV[6], ARGV[2] .. '-' .. ARGV[4], 'd', ARGV[5])
if newest_end <= 0 then redis.call('PEXPIRE', KEYS[1], ARGV[7]) end
redis.call('PUBLISH', ARGV[1], ARGV[5])
return 'written'
