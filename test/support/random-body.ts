import { MAX_BODY } from './oracle-model.ts'
import type { Random } from './random.ts'

// A table is one text, so that it is read at a glance.
const pickFrom = (random: Random, table: string) => random.pick(...table.split('|'))

// What is not well-formed has the number of a process that must live: should it be half-parsed, that is who dies.
const randomPid = (random: Random, isWrong: boolean, pid: number) => {
  const escaped = `\\u003${String(pid)[0]}${String(pid).slice(1)}`
  const right = `${pid}|${pid}|"${pid}"|${pid}.0|${pid}e0|${pid}0E-1|" ${pid}\\t"|"\\n\\u00a000${pid}"|"${escaped}"`
  const strings = `"${pid}abc"|"${pid}e0"|"0x${pid.toString(16)}"|"${pid}.0"|"+${pid}"|"-${pid}"|"${pid} ${pid}"|"\xff${pid}"`
  const values = `${pid}.5|-${pid}|[${pid}]|["${pid}"]|{"pid":${pid}}|0|-0|"0"|""|" "|null|false|1e400|"\\u0661"`
  return pickFrom(random, isWrong ? `${strings}|${values}|9007199254740992|"9007199254740992"` : right)
}

const randomTime = (random: Random, isWrong: boolean) => {
  const year = pickFrom(random, '2000|2024|2100|2100|2100|0000|9999')
  const fraction = pickFrom(random, '||.5|.123|.123456789')
  const right = `${year}-02-28T23:59:59${fraction}${pickFrom(random, 'Z|Z|+01:00|-12:00|-00:00|+23:59')}`
  if (!isWrong) return `"${right}"`
  const times = `${year}-02-30T00:00:00Z|2023-02-29T00:00:00Z|${year}-13-01T00:00:00Z|${year}-01-01|${right.slice(0, 19)}
 ${right}|${right}\\n|${year}-01-01 00:00:00Z|${year}-01-01T00:60:00Z|${year}-01-01T00:00:00+24:00|now||${right}Z`
  return random.pick(
    `"${random.pick(...times.split(/[|\n]/))}"`,
    pickFrom(random, `null|0|4102444800000|true|["${right}"]|{}`),
  )
}

const randomWait = (random: Random, isWrong: boolean) =>
  pickFrom(random, isWrong ? '-1|60001|1.5|"5"|null|true|1e9|[]|""|{}' : '0|-0|1|5|30|3e1|20.0|5000|60000|6e4')

const randomCommand = (random: Random, isWrong: boolean) =>
  pickFrom(random, isWrong ? 'null|1|true|["sleep"]|{}' : '"sleep"|"node"|"perl"|""|" sleep"|"SLEEP"|"\\u0073leep"')

const randomComment = (random: Random, isWrong: boolean) =>
  isWrong
    ? random.pick('null', '1', `"${'x'.repeat(201)}"`)
    : random.pick('"why"', '"\\n\\u2028"', `"${'\\ud83d\\ude00'.repeat(200)}"`)

const UNKNOWN =
  'x|startedbefore|started_before|StartedBefore|waitms|wait_ms|PID| pid|pid |signal||__proto__|constructor'

const randomUnknown = (random: Random) => {
  const depth = 1 + random.below(1500)
  const deep = '['.repeat(depth) + ']'.repeat(depth)
  const name = pickFrom(random, `${UNKNOWN}|toString|pid\\u0000|\xc3\xa9`)
  return `"${name}":${pickFrom(random, `1|null|"2000-01-01T00:00:00Z"|"SIGKILL"|"\xff"|"\\ud800"|${deep}`)}`
}

/** Mistakes after which it is no JSON, or no object. */
const spoil = (random: Random, json: string) =>
  random.pick(
    ...[json.slice(0, -1), json.replace(/}$/, ',}'), `${json}x`, `${json}${json}`, `[${json}]`, JSON.stringify(json)],
    ...[json.replaceAll('"', "'"), `//\n${json}`, `\xff${json}`, `${json}\0`, json.replace(':', '='), `\x0b${json}`],
    ...['null', 'NaN', '[]', ' '],
  )

/** The body of a kill that is in order but for some things. */
export const randomBody = (random: Random, isWrong: () => boolean, pid: number) => {
  const pidField = () => `"${pickFrom(random, 'pid|pid|p\\u0069d')}":${randomPid(random, isWrong(), pid)}`
  const timeField = () => `"startedBefore":${randomTime(random, isWrong())}`
  const fields = [
    ...(isWrong() ? [] : [pidField()]),
    ...(random.chance(0.3) ? [timeField()] : []),
    ...(random.chance(0.3) ? [`"waitMs":${randomWait(random, isWrong())}`] : []),
    ...(random.chance(0.1) ? [`"command":${randomCommand(random, isWrong())}`] : []),
    ...(random.chance(0.1) ? [`"comment":${randomComment(random, isWrong())}`] : []),
    // What a dry run tells is not known beforehand.
    ...(random.chance(0.1) ? [`"dryRun":${isWrong() ? pickFrom(random, 'null|1|"true"|{}') : 'false'}`] : []),
    ...(isWrong() ? [randomUnknown(random)] : []),
    // Of two with one name the last counts.
    ...(isWrong() ? [random.pick(pidField(), timeField(), '"waitMs":"x"')] : []),
  ]
  const space = () => random.pick('', '', ' ', '\n', '\t')
  const json = `{${space()}${random.shuffle(fields).join(`${space()},${space()}`)}${space()}}`
  const body = isWrong() ? spoil(random, json) : json
  if (random.chance(0.85)) return body
  const size = MAX_BODY + (isWrong() ? random.pick(1, 1, random.below(3000)) : random.pick(-1, 0))
  return random.pick(body.padEnd(size), body.padStart(size))
}
