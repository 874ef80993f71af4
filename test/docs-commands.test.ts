/**
 * Every command in a `sh` block of the documents, and every inline one of README and docs/ that starts with make, npm or
 * nats, is run, or is on the list below with the reason and what stands in for it.
 * One system for all of them, started by the commands of the README itself: bash, npm, curl and mailctl are the real ones.
 * The `nats` command line cannot be installed everywhere: test/support/docs-nats.ts sends the same request.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createLog } from '#shared/log.ts'
import { createTelemetry } from '../services/mail/base/telemetry.ts'
import {
  allDocs,
  type Block,
  blocksOf,
  codeIn,
  codesIn,
  type Doc,
  inlineCodesOf,
  readDoc,
  tableOf,
} from './support/docs.ts'
import { DocsWorld, type Ran } from './support/docs-world.ts'
import { until } from './support/until.ts'

const ROOT = join(import.meta.dirname, '..')

let world: DocsWorld
before(async () => {
  world = await DocsWorld.open()
})
after(() => world[Symbol.asyncDispose]())

/** Commands that are not run as they stand. Each answers what is run in its place; the empty text: nothing. */
const INSTEAD: readonly { command: RegExp; why: string; run(command: string): string }[] = [
  {
    command: /^make\b/,
    why: 'continuous integration runs demo and test; here make says what it would do, so that the target exists',
    run: (command) => command.replace(/^make/, 'make -n --no-print-directory'),
  },
  { command: /npm start$/, why: 'runs for ever; started before all others', run: () => '' },
  { command: /npm run http$/, why: 'runs for ever; started before all others', run: () => '' },
  {
    command: /npm run mailctl$/,
    why: 'names the program; without a command that is wrong usage. Here: its help',
    run: (command) => `${command} -- --help`,
  },
  {
    command: /^npm ci --omit=dev$/,
    why: 'installs; here npm says whether the packages without those of development are complete',
    run: (command) => command.replace('ci', 'ls --depth=0'),
  },
  {
    command: / mailctl -- login /,
    why: 'needs a person; test/cli/login.test.ts signs in. Here: its options are known',
    run: (command) => `{ GOOGLE_CLIENT_ID= ${command} 2>&1 || true; } | grep -q 'GOOGLE_CLIENT_ID is not set'`,
  },
  {
    command: / --watch$/,
    why: 'runs for ever; test/cli/commands.test.ts watches. Here: one look',
    run: (command) => command.replace(/ --watch$/, ''),
  },
  {
    command: /^npx node scripts\/env-example\.ts$/,
    why: 'writes into the project; docs.test.ts compares what it writes',
    run: () => '',
  },
  {
    command: /^npx drizzle-kit generate --config \.drizzle\/\w+\.ts$/,
    why: 'writes into the project; here drizzle-kit checks the migrations of the same configuration',
    run: (command) => command.replace('generate', 'check'),
  },
]

/** Commands of a block: lines that end in a backslash or a pipe go on in the next one. */
const commandsOf = (text: string): string[] =>
  text
    .replace(/\\\n\s*/g, '')
    .replace(/\|\n\s*/g, '| ')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))

const scriptOf = (block: Block): string =>
  commandsOf(block.text)
    .map((command) => INSTEAD.find((entry) => entry.command.test(command))?.run(command) ?? command)
    .join('\n')

type Shell = { block: Block; shown: Block | undefined }

/** Blocks of a document in order, each with the output that the document shows right after it, then its inline commands. */
function shellBlocksOf(path: string): Shell[] {
  const doc = readDoc(path)
  const blocks = blocksOf(doc)
  const fenced = blocks.flatMap((block, i): Shell[] => {
    if (block.language !== 'sh') return []
    const next = blocks[i + 1]
    const lines = block.text.split('\n').length + 1
    const follows = next?.line === block.line + lines + 1 && ['text', 'json'].includes(next.language)
    return [{ block, shown: follows ? next : undefined }]
  })
  return [...fenced, ...inlineCommandsOf(doc)]
}

/** What has an ellipsis is the form of a command and none. */
function inlineCommandsOf(doc: Doc): Shell[] {
  if (!/^(?:README|docs\/[\w-]+)\.md$/.test(doc.path)) return []
  const codes = inlineCodesOf(doc).map((code) => code.replace(/\s+/g, ' '))
  const commands = new Set(codes.filter((code) => /^(?:make|npm|nats) [^…]+$/.test(code)))
  const line = doc.text.split('\n').length
  return [...commands].map((text) => ({
    block: { doc: doc.path, line, language: 'sh', file: undefined, text },
    shown: undefined,
  }))
}

const END = '@@ end of block @@'

/** Keys of a JSON value, at every level, so that a reply can be compared with the one that is shown. */
const shapeOf = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.slice(0, 1).map(shapeOf)
  if (typeof value !== 'object' || value === null) return null
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, shapeOf(member)]))
}

function compare(shown: Block, printed: string, where: string): void {
  if (shown.language === 'json') {
    const [real, documented] = [JSON.parse(printed), JSON.parse(shown.text)]
    assert.deepEqual(shapeOf(real), shapeOf(documented), where)
    if (typeof real.message === 'string') assert.equal(real.message, documented.message, where)
  } else assert.equal(printed.trim(), shown.text.trim(), where)
}

function judge(path: string, blocks: readonly Shell[], ran: Ran): void {
  assert.equal(ran.code, 0, `${path}:\n${ran.output}`)
  const printed = ran.output.split(`${END}\n`)
  for (const [i, { block, shown }] of blocks.entries()) {
    const where = `${path}:${block.line}\n${printed[i]}`
    assert.doesNotMatch(printed[i] ?? '', /"error":\{|✖ (?!NATS|stream)/, where)
    if (shown !== undefined && !block.text.startsWith('make')) compare(shown, printed[i] ?? '', where)
  }
}

describe('the commands of the documents', () => {
  test('the README starts an instance and the bridge', async () => {
    const blocks = shellBlocksOf('README.md').map(({ block }) => block.text)
    const [instance, bridge] = [/npm start$/m, /npm run http$/m].map((end) => blocks.find((text) => end.test(text)))
    assert.ok(instance !== undefined && bridge !== undefined)
    await world.start(instance, world.env(), /"mail-sync runs"/)
    const listening = await world.start(bridge, world.env(), /"url":"([^"]+)".*"listening"/)
    world.bridge = listening[1] ?? ''
    await until('the bridge is ready', async () => (await fetch(`${world.bridge}/readyz`)).ok)
  })

  for (const { path } of allDocs().filter((doc) => shellBlocksOf(doc.path).length > 0))
    test(`those of ${path} do what it says`, async () => {
      const blocks = shellBlocksOf(path)
      const { env, real } = await world.reader()
      const script = blocks.map(({ block }) => `${real(scriptOf(block))}\necho '${END}'`).join('\n')
      judge(path, blocks, await world.run(script, env))
    })

  test('what is not run as it stands is in the documents, and is nothing else', () => {
    const commands = allDocs().flatMap(({ path }) => shellBlocksOf(path).flatMap(({ block }) => commandsOf(block.text)))
    for (const { command, why } of INSTEAD)
      assert.ok(
        commands.some((line) => command.test(line)),
        `${command}: ${why}`,
      )
    for (const inline of ['npm run -s mailctl -- doctor', 'make demo ONCE=1']) assert.ok(commands.includes(inline))
    for (const name of commands.flatMap((line) => /--config (\S+)/.exec(line)?.[1] ?? []))
      assert.ok(existsSync(join(ROOT, name)))
  })

  test('the control: a wrong flag, a wrong route and a wrong output are found', async () => {
    const { env, real } = await world.reader()
    const wrong = [
      "nats req mail.status '{}' --header-file x",
      'npm run -s mailctl -- status --usr me',
      'make -n demos',
    ]
    for (const command of wrong) assert.notEqual((await world.run(command, env)).code, 0, command)
    const lost = await world.run(real('curl -s http://localhost:8080/mail/statuses'), env)
    const block: Block = { doc: 'x', line: 1, language: 'sh', file: undefined, text: '' }
    assert.throws(() => judge('x', [{ block, shown: undefined }], lost))
    assert.throws(() =>
      compare({ ...block, language: 'json', text: '{"message":"x","more":1}' }, '{"message":"x"}', 'x'),
    )
  })

  test('the metrics of bridge and instances are those of the tables', async () => {
    const { registry } = createTelemetry(createLog('test', 'silent'), () => ({
      accounts: {},
      outboxPending: 0,
      users: 0,
    }))
    const ofInstances = (await registry.getMetricsAsJSON()).map(({ name }) => name)
    const login = 'export NATS_USER=service NATS_PASSWORD=$NATS_SERVICE_PASSWORD'
    const bad = `nats req mail.as.u.status '{"no":1}' --inbox-prefix _INBOX_service`
    assert.match((await world.run(`. data/nats/nats.env\n${login}\n${bad}`, world.env())).output, /BAD_REQUEST/)
    const text = await until('an error over NATS is counted', async () => {
      const shown = await (await fetch(`${world.bridge}/metrics`)).text()
      return shown.includes('mailsync_endpoint_errors_by_code_total{') && shown
    })
    const served = new Map<string, string>()
    for (const [, name = '', labels = ''] of text.matchAll(/^(\w+)(?:\{(.*)\})? /gm))
      served.set(family(name, ofInstances), labels)
    const doc = readDoc('docs/operations.md')
    const rows = [...tableOf(doc, 'metrics'), ...tableOf(doc, 'bridge-metrics')]
    const documented = new Map(rows.map(([name = '', , labels = '']) => [codeIn(name), codesIn(labels)]))
    const unknown = [...served.keys()].filter((name) => !/_(?:process|nodejs)_/.test(name) && !documented.has(name))
    assert.deepEqual(unknown, [])
    for (const [name, type] of tableOf(doc, 'bridge-metrics')) {
      assert.match(text, new RegExp(`^# TYPE ${codeIn(name ?? '')} ${type}$`, 'm'))
      const labels = served.get(codeIn(name ?? ''))
      assert.notEqual(labels, undefined, `${name} is not served`)
      for (const label of documented.get(codeIn(name ?? '')) ?? [])
        assert.match(labels ?? '', new RegExp(`\\b${label}="`))
    }
  })
})

/** The name of the metric that a sample belongs to. */
function family(sample: string, registered: readonly string[]): string {
  const base = sample.replace(/_(?:bucket|sum|count)$/, '')
  return registered.includes(base) || base === 'mailsync_http_request_seconds' ? base : sample
}
