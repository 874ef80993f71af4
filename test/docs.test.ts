/**
 * The documents against the code, both ways: what the code has stands in its table, what stands in a table the code has.
 * Commands and examples are run by docs-commands.test.ts.
 */
import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'
import * as v from 'valibot'
import { ACCOUNT_STATES, CONTRACT } from '#shared/contract.ts'
import { ENV } from '#shared/env.ts'
import { ACCOUNT_ERRORS, ERRORS } from '#shared/errors.ts'
import { EmailReceived, eventId } from '#shared/event.ts'
import { createLog } from '#shared/log.ts'
import * as subjects from '#shared/subjects.ts'
import { envExample } from '../scripts/env-example.ts'
import { createTelemetry } from '../services/mail/base/telemetry.ts'
import { MAKE_KEY_COMMAND } from '../services/mail/token/keys.ts'
import {
  allDocs,
  anchorsOf,
  blocksOf,
  codeIn,
  codesIn,
  inlineCodesOf,
  linksOf,
  proseOf,
  readDoc,
  tableOf,
} from './support/docs.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')
const sorted = (names: Iterable<string>): string[] => [...names].toSorted()

test('the tables of environment variables are the table of the code', () => {
  const rows = Object.entries(ENV).map(([name, { doc, fallback, programs }]) => [
    `\`${name}\``,
    fallback === undefined ? '' : `\`${fallback}\``,
    programs.join(', '),
    doc,
  ])
  assert.deepEqual(tableOf(readDoc('docs/configuration.md'), 'environment'), rows)
  const known = new Map(rows.map(([name, fallback, , doc]) => [name, [name, fallback, doc]]))
  for (const row of tableOf(readDoc('README.md'), 'required-environment'))
    assert.deepEqual(row, known.get(row[0] ?? ''))
})

test('.env.example is what scripts/env-example.ts makes', () => {
  assert.equal(read('.env.example'), envExample(), 'run: node scripts/env-example.ts')
})

test('every variable that a document names exists', () => {
  const others = /^MAIL_(?:SYNC_)?$/
  const named = allDocs().flatMap(
    ({ text }) => text.match(/\b(?:MAIL|NATS|HTTP|BETTER_AUTH|GOOGLE|MICROSOFT)_[A-Z0-9_]+\b/g) ?? [],
  )
  const examples = ['BETTER_AUTH_URL', 'BETTER_AUTH_SECRET', 'NATS_SERVER', 'MAIL_SYNC_INTERVAL_MS']
  const passwords = [...read('nats.conf').matchAll(/\$(NATS_\w+)/g)].map(([, name]) => name)
  const errors = [...Object.keys(ERRORS), ...Object.keys(ACCOUNT_ERRORS)]
  const unknown = new Set(named.filter((name) => !others.test(name)))
  for (const name of [...Object.keys(ENV), ...examples, ...passwords, ...errors])
    if (name !== undefined) unknown.delete(name)
  assert.deepEqual(sorted(unknown), [])
})

test('the tables of error codes are those of the code, with status, text and remedy', () => {
  assert.deepEqual(
    tableOf(readDoc('docs/http.md'), 'errors'),
    Object.entries(ERRORS).map(([code, { status, message, hint }]) => [`\`${code}\``, String(status), message, hint]),
  )
  assert.deepEqual(
    tableOf(readDoc('docs/operations.md'), 'account-errors'),
    Object.entries(ACCOUNT_ERRORS).map(([code, text]) => [`\`${code}\``, text]),
  )
})

test('every error code that a document names exists', () => {
  const known = new Set([...Object.keys(ERRORS), ...Object.keys(ACCOUNT_ERRORS), ...Object.keys(ENV)])
  const words = ['EMAIL_EVENTS', 'NATS_SERVER', 'GOOGLE_', 'SIGTERM']
  const named = allDocs().flatMap((doc) => inlineCodesOf(doc).filter((code) => /^[A-Z]+(?:_[A-Z]+)+$/.test(code)))
  assert.deepEqual(sorted(new Set(named.filter((code) => !known.has(code) && !words.includes(code)))), [])
})

test('the table of states is that of the contract', () => {
  const states = tableOf(readDoc('docs/operations.md'), 'states').map(([state = '']) => codeIn(state))
  assert.deepEqual(states, [...ACCOUNT_STATES])
})

test('the table of metrics is what an instance registers', async () => {
  const level = () => ({ accounts: {}, outboxPending: 0, users: 0 })
  const { registry } = createTelemetry(createLog('test', 'silent'), level)
  const registered = (await registry.getMetricsAsJSON()).filter(({ name }) => !/_(?:process|nodejs)_/.test(name))
  const rows = registered.map(({ name, type, help }) => {
    const metric: object | undefined = registry.getSingleMetric(name)
    const labels = metric !== undefined && 'labelNames' in metric ? (metric.labelNames as string[]) : []
    return [`\`${name}\``, String(type), labels.map((label) => `\`${label}\``).join(' '), help]
  })
  assert.deepEqual(tableOf(readDoc('docs/operations.md'), 'metrics'), rows)
})

test('the table of names is what shared/subjects.ts builds', () => {
  const names = new Set(
    Object.values(subjects).flatMap((value) => (typeof value === 'string' ? [value as string] : [])),
  )
  // Parts of names, the event type and the headers are no names of the broker.
  for (const part of [subjects.GROUP, subjects.EVENT_TYPE]) names.delete(part)
  for (const [key, value] of Object.entries(subjects)) if (key.startsWith('HEADER_')) names.delete(String(value))
  for (const operation of subjects.OPERATIONS) {
    names.add(subjects.requestSubject(operation))
    names.add(subjects.asSubject('anybody', operation).replace('anybody', '*'))
  }
  names.add(subjects.atStatusSubject('*'))
  const documented = tableOf(readDoc('docs/nats.md'), 'names').map(([name = '']) => codeIn(name))
  assert.deepEqual(sorted(documented), sorted(names))
})

test('the table of roles is that of nats.conf, and what bridge and service may publish stands there', () => {
  const conf = read('nats.conf')
  const rows = tableOf(readDoc('docs/nats.md'), 'roles')
  const roles = [...conf.matchAll(/\{ user: (\w+),/g)].map(([, name]) => name ?? '')
  assert.deepEqual(sorted(rows.map(([role = '']) => codeIn(role))), sorted(roles))
  for (const role of ['bridge', 'service']) {
    const allowed = new RegExp(`user: ${role},[\\s\\S]*?publish \\{ allow: \\[([^\\]]*)\\]`).exec(conf)?.[1] ?? ''
    const row = rows.find(([name = '']) => codeIn(name) === role)
    assert.deepEqual(
      codesIn(row?.[2] ?? ''),
      [...allowed.matchAll(/"([^"]+)"/g)].map(([, subject]) => subject),
    )
  }
})

test('the table of routes is what the bridge serves', () => {
  const served = [...read('services/http/routes.ts').matchAll(/app\.get\('([^']+)'/g)].map(([, path]) => `GET ${path}`)
  const operations = Object.values(CONTRACT).map(({ http }) => `${http.method} ${http.path}`)
  const documented = tableOf(readDoc('docs/http.md'), 'routes').map(([route = '']) => codeIn(route))
  assert.deepEqual(sorted(documented), sorted([...served, ...operations]))
})

test('the table of the event is its schema, and the example is one with its real id', () => {
  const rows = tableOf(readDoc('docs/events.md'), 'event')
  assert.deepEqual(
    rows.map(([field = '']) => codeIn(field)),
    Object.keys(EmailReceived.entries),
  )
  const example = blocksOf(readDoc('docs/events.md')).find(({ language }) => language === 'json')
  const event = v.parse(EmailReceived, JSON.parse(example?.text ?? ''))
  const { user_id, provider, inbox_id, provider_message_id } = event
  assert.equal(event.event_id, eventId(user_id, provider, inbox_id, provider_message_id))
})

test('the examples of requests and replies in docs/http.md are those of the contract', () => {
  const doc = readDoc('docs/http.md')
  const json = blocksOf(doc).flatMap(({ language, text }) => (language === 'json' ? [JSON.parse(text)] : []))
  const replies = [CONTRACT.connect, CONTRACT.status, CONTRACT.disconnect].map(({ example }) => example.reply)
  assert.deepEqual(json.slice(0, 3), replies)
  for (const { example } of [CONTRACT.connect, CONTRACT.disconnect])
    assert.ok(doc.text.includes(JSON.stringify(example.request)))
  const { error } = json[3]
  assert.deepEqual([error.message, error.hint], [ERRORS.TOKEN_NOT_A_JWT.message, ERRORS.TOKEN_NOT_A_JWT.hint])
})

test('the table of database tables has every column of the migrations, and no other', () => {
  const columns = (folder: string): Map<string, string[]> => {
    const sql = globSync(`migrations/${folder}/*.sql`, { cwd: ROOT }).toSorted().map(read).join('\n')
    const tables = new Map<string, string[]>()
    for (const [, name = '', body = ''] of sql.matchAll(/CREATE TABLE `(\w+)` \(\n([\s\S]*?)\n\);/g))
      tables.set(
        name,
        [...body.matchAll(/^\t`(\w+)` /gm)].map(([, column]) => column ?? ''),
      )
    for (const [, name = '', column = ''] of sql.matchAll(/ALTER TABLE `(\w+)` ADD `(\w+)`/g))
      tables.get(name)?.push(column)
    return tables
  }
  const made = { 'events.db': columns('user'), 'auth.db': columns('auth') }
  const doc = readDoc('docs/operations.md')
  const documented = tableOf(doc, 'tables').map((cells) => cells.map(codesIn))
  for (const [[file = ''] = [], [table = ''] = [], names = []] of documented) {
    const found = made[file as keyof typeof made].get(table) ?? []
    assert.deepEqual(sorted(names), sorted(found), `${file} ${table}`)
    made[file as keyof typeof made].delete(table)
  }
  // The others are internal: named, without their columns.
  const internal = /^(.*) in `events\.db` are internal/m.exec(doc.text)?.[1] ?? ''
  assert.deepEqual(sorted(codesIn(internal)), sorted([...made['events.db'].keys(), ...made['auth.db'].keys()]))
})

test('the code map names every folder of the code', () => {
  const folders = globSync(['services/*/', 'services/mail/*/'], { cwd: ROOT }).map((path) => path.replace(/\/$/, ''))
  const mapped = tableOf(readDoc('ARCHITECTURE.md'), 'folders').map(([folder = '']) => codeIn(folder))
  const missing = folders.filter((folder) => folder !== 'services/mail' && !mapped.includes(folder))
  assert.deepEqual(missing, [])
  assert.deepEqual(
    mapped.filter((folder) => !existsSync(join(ROOT, folder))),
    [],
  )
})

test('every path of the project that a document names exists, and every symbol of ARCHITECTURE.md', () => {
  const path = /^(?:services|shared|test|scripts|docs|migrations)\/[\w./-]*$/
  for (const doc of allDocs())
    for (const code of inlineCodesOf(doc))
      if (path.test(code)) assert.ok(existsSync(join(ROOT, code)), `${doc.path} names ${code}`)
  const code = globSync(['services/**/*.ts', 'shared/*.ts'], { cwd: ROOT }).map(read).join('\n')
  const symbols = inlineCodesOf(readDoc('ARCHITECTURE.md')).filter(
    (name) => /^[A-Za-z]{4,}$/.test(name) && /[a-z][A-Z]|^[A-Z][a-z]/.test(name),
  )
  assert.ok(symbols.length > 10)
  for (const symbol of symbols) assert.match(code, new RegExp(`\\b(?:class|function|const|type) ${symbol}\\b`), symbol)
})

test('every relative link leads to a file, and every anchor to a heading', () => {
  for (const doc of allDocs())
    for (const link of linksOf(doc)) {
      if (/^https?:/.test(link)) continue
      const [target = '', anchor] = link.split('#')
      const path = target === '' ? doc.path : normalize(join(dirname(doc.path), target))
      assert.ok(existsSync(join(ROOT, path)), `${doc.path} links to ${link}`)
      if (anchor !== undefined) assert.ok(anchorsOf(readDoc(path)).has(anchor), `${doc.path} links to ${link}`)
    }
})

test('every document is reached from the README, and every decision from the list of decisions', () => {
  const seen = new Set<string>()
  const visit = (path: string): void => {
    if (seen.has(path)) return
    seen.add(path)
    for (const link of linksOf(readDoc(path))) {
      if (/^https?:|^#/.test(link)) continue
      const target = normalize(join(dirname(path), link.split('#')[0] ?? '')).replace(/\/$/, '')
      const file = existsSync(join(ROOT, target, 'README.md')) ? join(target, 'README.md') : target
      if (file.endsWith('.md')) visit(file)
    }
  }
  visit('README.md')
  assert.deepEqual(sorted(allDocs().map(({ path }) => path)), sorted(seen))
})

test('decisions have their five parts', () => {
  for (const { path, text } of allDocs().filter((doc) => /adr\/\d/.test(doc.path)))
    assert.match(
      text,
      /^# \d{4} [^\n]+\n\nDate: \d{4}-\d\d-\d\d\n\nStatus: \w+\n\n## Context\n[\s\S]+\n## Decision\n[\s\S]+\n## Consequences\n/,
      path,
    )
})

test('the README is short, shows what the two commands print, and the documents give the same command for a key', () => {
  const readme = readDoc('README.md')
  assert.ok(readme.text.split('\n').length <= 200)
  const [demo, demoOutput, tests, testOutput] = blocksOf(readme)
  assert.equal(demo?.text, 'make demo\n')
  assert.match(demoOutput?.text ?? '', /^ledger: (\d[\d,]*) sent · \1 once · 0 lost · 0 twice$/m)
  assert.equal(tests?.text, 'make test\n')
  assert.match(testOutput?.text ?? '', /^ℹ fail 0$/m)
  assert.ok(readDoc('docs/configuration.md').text.includes(MAKE_KEY_COMMAND))
})

test('the documents do not boast', () => {
  const boasts =
    /\b(?:blazing|seamless(?:ly)?|robust|powerful|world-class|cutting-edge|effortless(?:ly)?|simply|best-in-class|lightning)\b/i
  for (const doc of allDocs()) assert.doesNotMatch(proseOf(doc), boasts, doc.path)
})
