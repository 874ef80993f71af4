/**
 * The tables of the documents against the code, both ways: what the code has stands in its table, what stands in a table
 * the code has. A table is found by the comment `<!-- table: name -->` above it.
 */
import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import * as v from 'valibot'
import { ACCOUNT_STATES, CONTRACT } from '#shared/contract.ts'
import { ENV } from '#shared/env.ts'
import { ERASE } from '#shared/erase.ts'
import { ACCOUNT_ERRORS, ERRORS } from '#shared/errors.ts'
import { EmailReceived, eventId } from '#shared/event.ts'
import { createLog } from '#shared/log.ts'
import { LOOP_TICK_MS } from '#shared/metrics.ts'
import * as subjects from '#shared/subjects.ts'
import { envExample } from '../scripts/env-example.ts'
import { createTelemetry } from '../services/mail/base/telemetry.ts'
import { mailctl } from './cli/mailctl.ts'
import { blocksOf, codeIn, codesIn, readDoc, tableOf } from './support/docs.ts'

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
  assert.equal(read('.env.example'), envExample(), 'run: npx node scripts/env-example.ts')
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

test('the lag of an event loop is explained by the tick that it is measured with', () => {
  assert.ok(readDoc('docs/operations.md').text.includes(`distances of two ticks of ${LOOP_TICK_MS} ms`))
})

test('the table of names is what shared/subjects.ts builds', () => {
  const names = new Set(
    Object.values(subjects).flatMap((value) => (typeof value === 'string' ? [value as string] : [])),
  )
  // Parts of names, the event type, a key and the headers are no names of the broker.
  for (const part of [subjects.GROUP, subjects.EVENT_TYPE, subjects.ERA_KEY]) names.delete(part)
  for (const [key, value] of Object.entries(subjects)) if (key.startsWith('HEADER_')) names.delete(String(value))
  for (const operation of subjects.OPERATIONS) {
    names.add(subjects.requestSubject(operation))
    names.add(subjects.asSubject('anybody', operation).replace('anybody', '*'))
  }
  for (const inspection of subjects.INSPECTIONS) {
    names.add(subjects.asSubject('anybody', inspection).replace('anybody', '*'))
    names.add(subjects.atSubject('*', inspection))
  }
  names.add(subjects.atSubject('*', 'status'))
  names.add(subjects.eraseSubject('anybody').replace('anybody', '*'))
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

test('the table of mailctl is its help', async () => {
  const help = (await mailctl(['--help'], {})).out
  const list = /^Commands:\n([\s\S]*?)\n\n/m.exec(help)?.[1] ?? ''
  // Long descriptions go on in the next line, further in.
  const lines = list.replace(/\n {10,}/g, ' ').split('\n')
  const commands = lines.flatMap((line) => {
    const [, usage = '', description = ''] = /^ {2}(\S.*?) {2,}(\S.*)$/.exec(line) ?? []
    return usage.startsWith('help') ? [] : [[usage.replace(' [options]', ''), description]]
  })
  const documented = tableOf(readDoc('docs/cli.md'), 'commands')
  assert.deepEqual(
    documented,
    commands.map(([usage, description]) => [`\`${usage}\``, description]),
  )
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
  const { user_id: _, ...erasure } = ERASE.example.reply
  assert.deepEqual(json[3], Object.assign({ erasure }, CONTRACT.disconnect.example.reply))
  assert.ok(v.is(CONTRACT.disconnect.reply, json[3]))
  const { error } = json[4]
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
