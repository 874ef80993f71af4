/**
 * The architecture, executed: each rule is run over the whole tree, and over a small bad sample that it must report.
 * The rules themselves are in support/architecture-rules.ts.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import * as rules from './support/architecture-rules.ts'

const ROOT = join(import.meta.dirname, '..')
const SELF = 'test/architecture.test.ts'
// The clone may belong to another user than the one who tests it.
const LIST = ['-c', 'safe.directory=*', 'ls-files', '--cached', '--others', '--exclude-standard']
const TEXT = /\.(ts|mts|js|mjs|cjs|sh|json|md|conf|sql|yml|yaml|html|css)$|(^|\/)(Makefile|LICENSE|\.[a-z]+|run)$/

/** All files that are tracked or about to be: what git ignores is nobody's architecture. */
function tree(): rules.SourceFile[] {
  const listed = execFileSync('git', [...LIST, '-z'], { cwd: ROOT })
  return String(listed)
    .split('\0')
    .filter((path) => path !== '' && existsSync(join(ROOT, path)))
    .map((path) => ({ path, text: TEXT.test(path) ? readFileSync(join(ROOT, path), 'utf8') : '' }))
}

type Case = {
  rule: rules.Rule
  title: string
  /** Each of these must be reported. */
  bad: readonly (readonly rules.SourceFile[])[]
  /** None of these may be. */
  good: readonly rules.SourceFile[]
}
const file = (path: string, ...lines: string[]): rules.SourceFile => ({ path, text: `${lines.join('\n')}\n` })
const each = (path: string, ...lines: string[]): rules.SourceFile[][] => lines.map((line) => [file(path, line)])

const cases: Case[] = [
  {
    rule: rules.importsGoOneWay,
    title: 'imports go in one direction',
    bad: [
      [file('services/mail/control/connect.ts', `import { work } from '../sync/worker.ts'`)],
      [file('services/mail/control/connect.ts', `import type { Work } from '../sync/worker.ts'`)],
      [file('services/mail/store/sqlite.ts', `const x = await import('../kv/leases.ts')`)],
      [file('shared/event.ts', `import { app } from '../services/mail/app.ts'`)],
      [file('services/http/server.ts', `import { app } from '../mail/app.ts'`)],
      [file('services/mail/app.ts', `import { simulator } from '../../test/simulator/main.ts'`)],
      [file('services/mail/app.ts', `import { routes } from '../http/routes.ts'`)],
      [file('services/mail/helpers/misc.ts', `export const x = 1`)],
    ],
    good: [
      file('services/mail/app.ts', `import { work } from './sync/worker.ts'`, `import { log } from '#shared/log.ts'`),
      file('services/mail/sync/worker.ts', `import { plan } from './plan.ts'`, `import pino from 'pino'`),
      file('services/mail/main.ts', `import { app } from './app.ts'`, `import { run } from '#shared/lifecycle.ts'`),
      file('services/mail/control/connect.ts', `// import { work } from '../sync/worker.ts'`),
    ],
  },
  {
    rule: rules.packagesStayInTheirPlaces,
    title: 'NATS packages are imported only where they belong',
    bad: [
      [file('services/http/server.ts', `import { connect } from 'nats'`)],
      [file('test/mail/app.test.ts', `import { connect } from 'nats'`)],
      [file('services/mail/sync/worker.ts', `import { jetstream } from '@nats-io/jetstream'`)],
      [file('services/mail/base/time.ts', 'import {', '  connect,', `} from 'nats'`)],
      [file('services/mail/base/time.ts', `import 'nats'`)],
      [file('services/mail/control/connect.ts', `import { Svcm } from '@nats-io/services'`)],
    ],
    good: [
      file('shared/nats.ts', `import { connect } from 'nats'`),
      file('services/mail/base/model.ts', `export const broker = 'nats'`),
      file('services/mail/kv/leases.ts', `import { Kvm } from '@nats-io/kv'`),
      file('services/mail/control/service.ts', `import { Svcm } from '@nats-io/services'`),
    ],
  },
  {
    rule: rules.noImportCycle,
    title: 'no file imports itself by way of others',
    bad: [
      [
        file('shared/a.ts', `import { b } from './b.ts'`),
        file('shared/b.ts', `import { c } from '#shared/c.ts'`),
        file('shared/c.ts', `export { a } from './a.ts'`),
      ],
    ],
    good: [
      file('shared/a.ts', `import { b } from './b.ts'`, `import { c } from './c.ts'`),
      file('shared/b.ts', `import { c } from './c.ts'`),
      file('shared/c.ts', `export const c = 1`),
    ],
  },
  {
    rule: rules.filesStayShort,
    title: 'no file is longer than 300 lines',
    bad: [[file('scripts/long.sh', ...Array<string>(301).fill(':'))]],
    good: [
      file('services/mail/x.ts', ...Array<string>(300).fill('')),
      file('docs/a.md', ...Array<string>(999).fill('')),
    ],
  },
  {
    rule: rules.environmentHasOneReader,
    title: 'only shared/env.ts reads the environment',
    bad: each('services/mail/app.ts', 'const url = process.env.NATS_URL', `const { A } = process.env`),
    good: [file('shared/env.ts', 'const all = process.env'), file('shared/log.ts', '// process.env is not read here')],
  },
  {
    rule: rules.noAny,
    title: 'nothing in services and shared is any',
    bad: each(
      'shared/event.ts',
      ...['let x: any', 'const y = x as any', 'new Map<string, any>()', 'let z: any[]', 'f<any>()', 'let u: A | any'],
    ),
    good: [file('shared/event.ts', 'AbortSignal.any([a, b])', 'await Promise.any(all)', '// any', `const s = ': any'`)],
  },
  {
    rule: rules.noSilencedCompiler,
    title: 'the compiler is not silenced in services and shared',
    bad: each('shared/event.ts', ...['ignore', 'nocheck', 'expect-error'].map((word) => `// @ts-${word}`)),
    good: [file('shared/event.ts', '// tsc may not be silenced')],
  },
  {
    rule: rules.noEmptyCatch,
    title: 'no error is swallowed in services and shared',
    bad: each(
      'shared/event.ts',
      ...['try { f() } catch {}', 'try { f() } catch (e) { /* fine */ }', 'await f().catch(() => {})'],
    ),
    good: [file('shared/event.ts', 'try { f() } catch { return null }', 'f().catch((e) => log.warn(e))')],
  },
  {
    rule: rules.noDefaultExport,
    title: 'nothing in services and shared is exported as default',
    bad: each('shared/event.ts', 'export default function f() {}', 'export { f as default }'),
    good: [file('shared/event.ts', 'export function f() {}')],
  },
  {
    rule: rules.noBarrel,
    title: 'no file in services and shared only passes on others',
    bad: [
      [file('shared/all.ts', `export { a } from './a.ts'`)],
      [file('shared/all.ts', `export * from './a.ts'`, 'export const b = 1')],
      [file('services/mail/kv/index.ts', 'export const a = 1')],
    ],
    good: [file('shared/nats.ts', `export { headers } from 'nats'`, 'export const b = 1')],
  },
  {
    rule: rules.namesHaveOnePlace,
    title: 'names of streams, buckets and subjects stand only in shared/subjects.ts',
    bad: each(
      'services/mail/app.ts',
      ...[`'EMAIL_EVENTS'`, `'mail_accounts'`, `'KV_mail_leases'`, `'mail_state'`, `"mail.connect"`],
      ...['`mail.as.ada.status`', '`user.ada.email.received`', `'$SRV.STATS'`],
    ),
    good: [
      file('shared/subjects.ts', `export const STREAM = 'EMAIL_EVENTS'`),
      file('services/mail/app.ts', '// the bucket mail_accounts', `import { x } from './mail.ts'`),
    ],
  },
  {
    rule: rules.queuesSayTheirBound,
    title: 'whoever makes a queue says what bounds it',
    bad: each(
      'services/mail/app/x.ts',
      'const work = new PQueue({ concurrency: 4 })',
      `const a = 'Bound: b'; new PQueue()`,
    ),
    good: [
      file('services/mail/app/x.ts', '// Bound: the users.', 'const work = new PQueue({ concurrency: 4 })'),
      file('services/mail/app/y.ts', `import type PQueue from 'p-queue'`),
    ],
  },
  {
    rule: rules.noTestLeftOut,
    title: 'no test is skipped, singled out or left to do',
    bad: each(
      'test/a.test.ts',
      ...[`test.${'skip'}('x', f)`, `describe.${'only'}('x', f)`, `t.${'todo'}()`, `test('x', { ${'skip'}: true }, f)`],
    ),
    good: [file('test/a.test.ts', `test('skip: only once', f)`, 'pages.skip(3)')],
  },
  {
    rule: rules.chanceHasASeed,
    title: 'random cases are the same in every run',
    bad: each('test/a.test.ts', `import fc from 'fast-check'`),
    good: [
      file('test/a.test.ts', `import { fc } from './support/fast-check.ts'`, `import type fc from 'fast-check'`),
      file('test/support/fast-check.ts', `import fc from 'fast-check'`),
    ],
  },
  {
    rule: rules.noMachineInText,
    title: 'no tracked file names a machine path, a registry or a mirror',
    bad: each(
      'docs/a.md',
      ...[`${'/home'}/ada/mail`, `cd ${'/work'}/main`, `"resolved": "${'https'}://x.test/a.tgz"`],
      ...[`${'http'}://${'deb'}.debian.org/debian`, `${'https'}://${'registry'}.npmjs.org/`],
    ),
    good: [file('docs/a.md', 'https://example.test/home/x', '/usr/share/keyrings/x.gpg', '`/me/drive/root/x`')],
  },
  {
    rule: rules.topLevelIsClosed,
    title: 'the top level holds what issue and layout name, and dotfiles',
    bad: [[file('notes.txt', '')], [file('utils/x.ts', '')]],
    good: [file('.ci/run', ''), file('Makefile', ''), file('services/mail/main.ts', '')],
  },
]

describe('the tree keeps the architecture:', () => {
  const files = tree()
  assert.ok(
    files.some(({ path }) => path === SELF),
    'the tree has been found',
  )
  for (const { rule, title } of cases) test(title, () => assert.deepEqual(rule(files), []))
})

describe('each rule reports what breaks it, and nothing else:', () => {
  for (const { rule, title, bad, good } of cases)
    test(title, () => {
      for (const sample of bad) assert.notDeepEqual(rule(sample), [], `not reported: ${sample[0]?.text}`)
      assert.deepEqual(rule(good), [])
    })
})
