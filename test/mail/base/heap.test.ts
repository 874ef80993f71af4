/** Garbage that has become old does not gather until there is several times as much of it as of what is in use (ADR 0053). */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'

const PROGRAM = new URL('./heap-growth.ts', import.meta.url).pathname

/** By how much the old generation of a process that lives off 20 MB grows while it drops 100, MB. */
async function growthMb(how: 'settled' | 'as it comes'): Promise<number> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--max-semi-space-size=1', PROGRAM, how], {
    timeout: 30_000,
  })
  const { mostMb } = JSON.parse(stdout) as { mostMb: number }
  return mostMb
}

test('a settled heap is collected before there is twice as much', async () => {
  const mb = await growthMb('settled')
  assert.ok(mb < 50, `${mb} MB`)
})

test('control: as it comes, nothing of a hundred MB is collected', async () => {
  const mb = await growthMb('as it comes')
  assert.ok(mb > 90, `${mb} MB`)
})
