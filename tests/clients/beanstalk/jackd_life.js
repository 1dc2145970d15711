// The life of a job through jackd, with promises and several connections.
//
//     jackd_life.js PORT
'use strict'

const assert = require('node:assert/strict')
const JackdClient = require('jackd')

const port = Number(process.argv[2])
const open = []

async function connect(tube) {
  const client = new JackdClient({ host: '127.0.0.1', port })
  await client.connect({ host: '127.0.0.1', port })
  open.push(client)
  await client.use(tube)
  await client.watch(tube)
  await client.ignore('default')
  return client
}

/** The fields of statistics. */
function fields(yaml) {
  const pairs = yaml.split('\n').map((line) => line.split(': ')).filter((pair) => pair.length === 2)
  return Object.fromEntries(pairs)
}

async function eventually(condition) {
  const bound = Date.now() + 20000
  while (!(await condition())) assert.ok(Date.now() < bound, `in time: ${condition}`)
}

const tests = {
  async wholeLife(tube) {
    const c = await connect(tube)
    const body = '\0h\u00e9llo\r\nquit\r\n'
    const id = await c.put(body)
    assert.equal((await c.peekReady()).payload.toString(), body)
    const job = await c.reserve()
    assert.equal(job.id, id)
    assert.equal(job.payload.toString(), body)
    await c.touch(id)
    await c.release(id, { priority: 3, delay: 0 })
    assert.equal(fields(await c.statsJob(id)).pri, '3')
    assert.equal((await c.reserveWithTimeout(0)).id, id)
    await c.bury(id, 4)
    assert.equal((await c.peekBuried()).id, id)
    assert.equal(await c.kick(10), 1)
    assert.equal((await c.reserveJob(id)).id, id)
    await c.delete(id)
    await assert.rejects(c.delete(id), /NOT_FOUND/)
    await assert.rejects(c.peek(id), /NOT_FOUND/)
    await assert.rejects(c.reserveWithTimeout(0), /TIMED_OUT/)
  },

  async pipelining(tube) {
    const c = await connect(tube)
    const ids = await Promise.all(Array.from({ length: 200 }, (_, i) => c.put(`job ${i}`)))
    assert.equal(new Set(ids).size, 200)
    // jackd takes all that arrives behind the line of a job for its body, so jobs are taken one by one.
    for (const id of ids) assert.equal((await c.reserve()).id, id)
    await Promise.all(ids.map((id) => c.delete(id)))
    assert.equal(fields(await c.statsTube(tube))['cmd-delete'], '200')
  },

  async waiting(tube) {
    const [producer, worker] = [await connect(tube), await connect(tube)]
    const waits = worker.reserve()
    await eventually(async () => fields(await producer.statsTube(tube))['current-waiting'] === '1')
    const id = await producer.put('at last', { ttr: 1 })
    assert.equal((await waits).id, id)
    await assert.rejects(producer.touch(id), /NOT_FOUND/)
    await assert.rejects(worker.reserve(), /DEADLINE_SOON/)
    // A worker that goes gives its job back; whoever waits gets it.
    const next = producer.reserve()
    await worker.quit()
    assert.equal((await next).id, id)
    await producer.delete(id)
  },

  async delays(tube) {
    const c = await connect(tube)
    const id = await c.put('later', { delay: 1 })
    assert.equal((await c.peekDelayed()).id, id)
    assert.equal((await c.reserveWithTimeout(10)).id, id)
    await c.release(id, { priority: 0, delay: 1000 })
    await c.kickJob(id)
    // jackd 2.2.2 sends pause-tube without the end of its line, so pauses are left to the other clients.
    assert.equal((await c.reserveWithTimeout(10)).id, id)
    const job = fields(await c.statsJob(id))
    assert.deepEqual([job.state, job.releases, job.kicks, job.reserves], ['reserved', '1', '1', '2'])
    await c.delete(id)
  },

  async tubes(tube) {
    const c = await connect(tube)
    assert.equal(await c.listTubeUsed(), tube)
    assert.equal(await c.listTubesWatched(), `---\n- ${tube}\n`)
    assert.match(await c.listTubes(), new RegExp(`^---\n(- .*\n)*- ${tube}\n`))
    assert.equal(await c.watch('default'), 2)
    assert.equal(await c.ignore('default'), 1)
    await assert.rejects(c.ignore(tube), /NOT_IGNORED/)
    await assert.rejects(c.use('-x'), /BAD_FORMAT/)
    assert.equal(fields(await c.stats()).version, '"1.13"')
    await assert.rejects(c.put('x'.repeat(70000)), /JOB_TOO_BIG/)
    assert.equal(await c.listTubeUsed(), tube)
  },
}

async function main() {
  for (const [name, test] of Object.entries(tests)) {
    await test(`jackd.${name}`)
    await Promise.all(open.splice(0).filter((client) => client.isConnected()).map((client) => client.quit()))
  }
  console.log(`jackd ${require('jackd/package.json').version}: the life of a job, as it must be`)
}

// A promise that is never kept would end node without a word, and with success.
process.exitCode = 1
main().then(() => (process.exitCode = 0), (error) => { console.error(error); process.exit(1) })
