/** Makes a wrong answer out of a right one, by a recipe that fast-check draws. Pure: the same recipe, the same bytes. */
import fc from 'fast-check'

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

const polluted = (): Json => JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}')
const deep = (depth: number): Json => JSON.parse('['.repeat(depth) + ']'.repeat(depth))

/** What takes the place of a value. */
const VALUES: (() => Json)[] = [
  ...[
    null,
    true,
    false,
    0,
    -1,
    1e308,
    -1e308,
    2 ** 53,
    1.5,
    '',
    '0',
    ' ',
    '\u0000',
    '\ud800',
    '\u202e',
    '{}',
    '[]',
  ].map((value) => () => value),
  ...[
    '__proto__',
    'constructor',
    'toString',
    '../../x',
    'http://127.0.0.1:1/',
    '99999999999999999999',
    '-1',
    'NaN',
  ].map((value) => () => value),
  ...['9999-12-31T23:59:59Z', '+275760-09-13T00:00:00Z', '-271821-04-20T00:00:00Z', '2024-13-45T99:99:99Z'].map(
    (value) => () => value,
  ),
  () => 'a'.repeat(20_000),
  () => '=?utf-8?Q?'.repeat(200),
  () => '<"(,;:@'.repeat(200),
  () => [],
  () => ({}),
  () => Array.from({ length: 50 }, (_, at) => at),
  () => deep(500),
  polluted,
]
/** What takes the place of the whole body. */
const BODIES: ((right: string) => Uint8Array | string)[] = [
  (right) => right,
  (right) => right.slice(0, right.length / 2),
  (right) => `${right}x`,
  (right) => `\ufeff${right}`,
  (right) => right.replaceAll('"', "'"),
  (right) => Buffer.concat([Buffer.from(right.slice(0, -2)), Buffer.from([0xff, 0xfe, 0xc0]), Buffer.from('"}')]),
  () => '',
  () => 'null',
  () => '[]',
  () => '"text"',
  () => '<html><body>Sign in</body></html>',
  () => '{"error":{"code":503,"message":"x","status":"UNAVAILABLE","errors":[{"reason":"backendError"}]}}',
  () => '{"error":{"code":"ErrorItemNotFound","message":"gone"}}',
  () => '{"error":{"__proto__":{"polluted":true},"errors":[null,{"reason":{}}]}}',
  () => '['.repeat(100_000),
]
const STATUS = [200, 201, 204, 206, 400, 401, 403, 404, 409, 410, 412, 429, 500, 502, 503, 504, 509, 599]
const HEADERS: Record<string, string>[] = [
  {},
  { 'retry-after': '1' },
  { 'retry-after': '99999999999999999999' },
  { 'retry-after': '-1' },
  { 'retry-after': 'Fri, 31 Dec 9999 23:59:59 GMT' },
  { 'retry-after': 'soon', date: 'never' },
  { location: 'http://127.0.0.1:1/v1.0/x' },
]
const TYPES = ['application/json', 'application/json; charset=utf-8', 'text/html', 'application/octet-stream', '']

export type Recipe = {
  steps: { path: number[]; how: number; value: number }[]
  body: number
  status: number
  headers: number
  type: number
  /** Which request of a page it answers. */
  nth: number
  lane: number
}

const mostly = (common: number, rest: number): fc.Arbitrary<number> =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(common) }, { weight: 1, arbitrary: fc.nat(rest) })

const often = (common: number, rest: number): fc.Arbitrary<number> =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(common) }, { weight: 1, arbitrary: fc.nat(rest) })

export const recipes: fc.Arbitrary<Recipe> = fc.record({
  steps: fc.array(
    fc.record({
      path: fc.array(fc.nat(30), { minLength: 2, maxLength: 6 }),
      how: fc.nat(3),
      value: fc.nat(VALUES.length - 1),
    }),
    { maxLength: 4 },
  ),
  body: mostly(0, BODIES.length - 1),
  status: often(0, STATUS.length - 1),
  headers: mostly(0, HEADERS.length - 1),
  type: mostly(0, TYPES.length - 1),
  nth: mostly(0, 3),
  lane: fc.nat(30),
})

/** Walks into the value as far as the path leads, and changes what it finds there. */
function changed(value: Json, path: readonly number[], step: Recipe['steps'][number]): Json {
  const [at, ...rest] = path
  if (at === undefined || typeof value !== 'object' || value === null) return VALUES[step.value]?.() ?? null
  const keys = Object.keys(value)
  const key = keys[at % Math.max(1, keys.length)]
  if (key === undefined) return VALUES[step.value]?.() ?? null
  const copy: Record<string, Json> = Object.fromEntries(Object.entries(value))
  const isLast = rest.length === 0
  if (isLast && step.how === 1) delete copy[key]
  else if (isLast && step.how === 2) Object.defineProperty(copy, '__proto__', { value: polluted(), enumerable: true })
  else copy[key] = changed(copy[key] ?? null, rest, step)
  return Array.isArray(value) ? Object.values(copy) : copy
}

export type Answer = { status: number; headers: Record<string, string>; body: Uint8Array }

/** @param right JSON of the right answer */
export function wrongAnswer(right: object, recipe: Recipe): Answer {
  let value = right as Json
  for (const step of recipe.steps) value = changed(value, step.path, step)
  const type = TYPES[recipe.type] ?? ''
  return {
    status: STATUS[recipe.status] ?? 200,
    headers: { ...HEADERS[recipe.headers], ...(type === '' ? {} : { 'content-type': type }) },
    body: bodyOf(JSON.stringify(value), recipe),
  }
}

const bodyOf = (right: string, recipe: Recipe): Uint8Array => Buffer.from(BODIES[recipe.body]?.(right) ?? '')

/** The same of an answer that is no JSON: its lines take the place of its values. */
export function wrongBytes({ status, headers, body }: Answer, recipe: Recipe): Answer {
  const lines = Buffer.from(body).toString().split('\n')
  for (const { path, how, value } of recipe.steps) {
    const at = (path[0] ?? 0) % lines.length
    const other = lines[(path[1] ?? 0) % lines.length] ?? ''
    if (how === 1) lines.splice(at, 1)
    else if (how === 2) lines.splice(at, 0, other)
    else lines[at] = how === 3 ? other : String(VALUES[value]?.())
  }
  const [wrongStatus = 200, type = ''] = [STATUS[recipe.status], TYPES[recipe.type]]
  return {
    status: recipe.status === 0 ? status : wrongStatus,
    headers: recipe.type === 0 ? headers : { ...HEADERS[recipe.headers], 'content-type': type },
    body: bodyOf(lines.join('\n'), recipe),
  }
}
