/**
 * Stands in for the `nats` command line in the tests of the documents: the same words, the same request, through the
 * client. It knows the few commands and flags that the documents use and refuses every other, so that a flag which it
 * would have to guess at fails the test.
 */
import { parseArgs } from 'node:util'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, headers, type NatsConnection } from '#shared/nats.ts'
import { decodeJson } from '#shared/nats-answer.ts'

type Flags = { timeout: number; hdrs: string[] }

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    'inbox-prefix': { type: 'string', default: '_INBOX' },
    timeout: { type: 'string', default: '5s' },
    header: { type: 'string', short: 'H', multiple: true, default: [] },
  },
})
const flags: Flags = { timeout: Number(/^(\d+)s$/.exec(values.timeout)?.[1]) * 1000, hdrs: values.header }
const [command = '', ...words] = positionals

const write = (text: string): void => void process.stdout.write(`${text}\n`)

async function request(nc: NatsConnection, subject: string, body: string): Promise<void> {
  const hdrs = headers()
  for (const line of flags.hdrs) {
    const [, name = '', value = ''] = /^([^:]+):\s*(.*)$/.exec(line) ?? []
    hdrs.append(name, value)
  }
  const reply = await nc.request(subject, body, { timeout: flags.timeout, headers: hdrs })
  write(reply.string())
}

/** `micro ls`, `info` and `stats`: what every instance answers to discovery. */
async function micro(nc: NatsConnection, verb: string, service: string | undefined): Promise<void> {
  const topics: Record<string, string> = { ls: 'PING', info: 'INFO', stats: 'STATS' }
  const topic = topics[verb]
  if (topic === undefined) throw new Error(`no such command: micro ${verb}`)
  const subject = `$SRV.${topic}${service === undefined ? '' : `.${service}`}`
  const answers = await nc.requestMany(subject, '', { strategy: 'stall', maxWait: 2_000, stall: 200 })
  let found = 0
  for await (const { data } of answers) {
    found++
    write(JSON.stringify(decodeJson(data)))
  }
  if (found === 0) throw new Error('no service found')
}

const { NATS_URL: url = '', NATS_USER: user, NATS_PASSWORD: password } = process.env
const options = { url, user, password, name: 'nats', inboxPrefix: values['inbox-prefix'], waitMs: 2_000 }
const log = createLog('nats', 'silent')
const nc = await connectNats(options, log, AbortSignal.timeout(10_000))
try {
  const [first = '', second] = words
  if (command === 'req' && words.length === 2) await request(nc, first, second ?? '')
  else if (command === 'micro' && words.length <= 2) await micro(nc, first, second)
  else throw new Error(`no such command: ${positionals.join(' ')}`)
} finally {
  await drainNats(nc, log)
}
