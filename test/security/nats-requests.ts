/** Random and mutated requests over NATS, with header blocks that no client library would send, as fast-check draws them. */
import fc from 'fast-check'
import { HEADER_AUTHORIZATION, HEADER_REQUEST_ID, HEADER_USER, INSPECTIONS, OPERATIONS } from '#shared/subjects.ts'

/** The secret in them. */
export const CANARY = 'canary-5d0e'

const ASKED = [...OPERATIONS, ...INSPECTIONS]
const asUsers = (users: string[]): string[] => users.flatMap((user) => ASKED.map((name) => `mail.as.${user}.${name}`))
/** @param address of the instance, where the others ask it */
const subjectsOf = (address: string) =>
  fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom('mail.connect', 'mail.status', 'mail.disconnect') },
    { weight: 1, arbitrary: fc.constantFrom('mail.fleet', 'mail.rekey') },
    { weight: 4, arbitrary: fc.constantFrom(...asUsers(['ada', 'fuzz'])) },
    { weight: 1, arbitrary: fc.constantFrom(...['eve', 'fuzz', '=65ve'].map((user) => `mail.as.${user}.erase`)) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(...['status', ...INSPECTIONS].map((name) => `mail.at.${address}.${name}`)),
    },
    { weight: 1, arbitrary: fc.constantFrom(...asUsers(['=41da', 'a=2', '=C3', 'x'.repeat(181)])) },
  )
const GOOD: Record<string, unknown>[] = [
  {
    provider: 'google',
    access_token: `${CANARY}-a`,
    refresh_token: `${CANARY}-r`,
    expires_in: 3_600,
    inbox_id: 'work',
  },
  { provider: 'microsoft', access_token: `${CANARY}-a`, refresh_token: `${CANARY}-r`, expires_in: 0 },
  { provider: 'google', inbox_id: 'work' },
  { provider: 'microsoft', inbox_id: 'work', erase: true },
  { provider: 'google', inbox_id: 'work', erase: true },
  { message_id: 'm1', provider: 'google' },
  {},
]
/** No provider: what is said of ada's own mailbox stays wrong, so that it stays connected. */
const ODD: unknown[] = [
  null,
  '',
  -1,
  1e308,
  true,
  [],
  {},
  'outlook',
  '\u0000',
  '__proto__',
  'x'.repeat(9_000),
  `${CANARY}-odd`,
]

export type Ask = { subject: string; block: Buffer | null; payload: Buffer }

const mutated = fc
  .record({
    good: fc.constantFrom(...GOOD),
    key: fc.constantFrom('provider', 'inbox_id', 'expires_in', 'access_token', 'erase', 'x'),
    odd: fc.option(fc.constantFrom(...ODD)),
  })
  .map(({ good, key, odd }) => Buffer.from(JSON.stringify(odd === null ? good : { ...good, [key]: odd })))
const payloads: fc.Arbitrary<Buffer> = fc.oneof(
  { weight: 6, arbitrary: mutated },
  { weight: 2, arbitrary: fc.json().map((text) => Buffer.from(text)) },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('', '   ', '{', '[['.repeat(20_000), '{"a":'.repeat(9_000))
      .map((text) => Buffer.from(text)),
  },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 65_000, max: 66_000 }).map((size) => Buffer.from(`{${' '.repeat(size)}}`)),
  },
)
const names = fc.constantFrom(
  HEADER_AUTHORIZATION,
  HEADER_AUTHORIZATION.toLowerCase(),
  HEADER_REQUEST_ID,
  HEADER_USER,
  'X',
  '',
  'a b',
  'ä',
  '\u0001',
  ':',
)
const values = fc.oneof(
  fc.constantFrom(
    '',
    'Bearer ',
    `Bearer ${CANARY}`,
    'Bearer a.b.c',
    'x\ry',
    'x\ny',
    '\u0000',
    'x'.repeat(9_000),
    'id-1',
    'ada',
  ),
  fc.string({ unit: 'binary', maxLength: 40 }),
)
/** `jwt`: the place of a good token, which the test puts there. */
const blocks = fc.oneof(
  { weight: 2, arbitrary: fc.constant(null) },
  { weight: 5, arbitrary: fc.constant(`NATS/1.0\r\n${HEADER_AUTHORIZATION}: jwt\r\n\r\n`) },
  {
    weight: 3,
    arbitrary: fc
      .array(fc.tuple(names, values), { maxLength: 5 })
      .map((lines) => `NATS/1.0\r\n${lines.map((line) => line.join(': ')).join('\r\n')}\r\n\r\n`),
  },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 60 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'NATS/1.0',
      'NATS/1.0 503\r\n\r\n',
      'NATS/1.0 404 No Messages\r\n\r\n',
      'HTTP/1.1\r\n\r\n',
      '\r\n'.repeat(500),
    ),
  },
)
/** @param jwt of the user fuzz; address of the instance, where the others ask it */
export const asks = (jwt: string, address: string): fc.Arbitrary<Ask> => {
  const any = fc
    .record({ subject: subjectsOf(address), block: blocks, payload: payloads })
    .map(({ subject, block, payload }) => ({
      subject,
      payload,
      block: block === null ? null : Buffer.from(block.replace(': jwt', `: Bearer ${jwt}`)),
    }))
  const erasing = fc
    .constantFrom(
      ['mail.as.eve.erase', {}] as const,
      ['mail.as.ada.disconnect', { provider: 'google', inbox_id: 'work', erase: true }] as const,
    )
    .map(([subject, body]) => ({ subject, block: null, payload: Buffer.from(JSON.stringify(body)) }))
  return fc.oneof({ weight: 49, arbitrary: any }, { weight: 1, arbitrary: erasing })
}
