/** Where and with what was measured. */
import { execFileSync } from 'node:child_process'
import { cpus, release, totalmem, type } from 'node:os'
import { natsServerPath } from '../../support/nats-server.ts'

export type Machine = {
  /** Short hash, with a `+` when the files differ from it. */
  commit: string
  node: string
  server: string
  cpu: string
  cores: number
  memoryGb: number
  system: string
}

const ROOT = new URL('../../..', import.meta.url).pathname
const git = (...args: string[]): string => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim()

/** Also of a source that is no clone. */
function commitOf(): string {
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '+')
  } catch (error) {
    return error instanceof Error ? 'unknown' : String(error)
  }
}

export async function thisMachine(): Promise<Machine> {
  const version = execFileSync(await natsServerPath(), ['--version'], { encoding: 'utf8' })
  return {
    commit: commitOf(),
    node: process.versions.node,
    server: /v([\d.]+)/.exec(version)?.[1] ?? version.trim(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
  }
}
