<?php
// The life of a job through Pheanstalk.
//
//     pheanstalk_life.php PORT

declare(strict_types=1);

use Pheanstalk\Exception\DeadlineSoonException;
use Pheanstalk\Exception\JobTooBigException;
use Pheanstalk\Exception\ServerException;
use Pheanstalk\JobId;
use Pheanstalk\Pheanstalk;

require 'Pheanstalk/autoload.php';

set_error_handler(function (int $level, string $text, string $file, int $line): bool {
    throw new ErrorException($text, 0, $level, $file, $line);
});

function connect(string $tube): Pheanstalk
{
    global $argv;
    return Pheanstalk::create('127.0.0.1', (int) $argv[1])->useTube($tube)->watchOnly($tube);
}

function is(mixed $left, mixed $right): void
{
    if ($left !== $right) {
        throw new Exception(var_export($left, true) . ' is not ' . var_export($right, true));
    }
}

function fails(string $error, string $words, callable $act): void
{
    try {
        $act();
    } catch (Exception $thrown) {
        is($thrown instanceof $error, true);
        is(str_contains($thrown->getMessage(), $words), true);
        return;
    }
    throw new Exception("$error was expected");
}

/** The fields of statistics; strings without their quotes. */
function facts(iterable $response): array
{
    return array_map(fn ($value) => trim((string) $value, '"'), iterator_to_array($response));
}

function whole_life(string $tube): void
{
    $c = connect($tube);
    $body = implode('', array_map('chr', range(0, 255))) . "\r\nquit\r\n";
    $id = $c->put($body, 10, 0, 60)->getId();
    is($c->peekReady()->getId(), $id);
    $job = $c->reserve();
    is([$job->getId(), $job->getData()], [$id, $body]);
    $c->touch($job);
    $c->release($job, 3, 0);
    is(facts($c->statsJob($job))['pri'], '3');
    $job = $c->reserveWithTimeout(0);
    $c->bury($job, 4);
    is($c->peekBuried()->getId(), $id);
    is($c->peek($job)->getData(), $body);
    is($c->kick(10), 1);
    $job = $c->reserveWithTimeout(0);
    $c->bury($job);
    $c->kickJob($job);
    $facts = facts($c->statsJob($job));
    is([$facts['tube'], $facts['state'], $facts['buries'], $facts['kicks']], [$tube, 'ready', '2', '2']);
    $c->delete($job);
    fails(ServerException::class, 'NOT_FOUND', fn () => $c->delete($job));
    fails(ServerException::class, 'NOT_FOUND', fn () => $c->peek(new JobId($id)));
    is($c->peekReady(), null);
    is($c->reserveWithTimeout(0), null);
}

function waiting(string $tube): void
{
    $c = connect($tube);
    $id = $c->put('later', 1, 1, 1)->getId();
    is($c->peekDelayed()->getId(), $id);
    // It waits until the delay is over.
    $job = $c->reserve();
    is($job->getId(), $id);
    fails(DeadlineSoonException::class, '', fn () => $c->reserve());
    $other = connect($tube);
    fails(ServerException::class, 'NOT_FOUND', fn () => $other->touch($job));
    // It waits until the first worker's time is over.
    is($other->reserveWithTimeout(10)->getId(), $id);
    is(facts($other->statsJob($job))['timeouts'], '1');
    $other->delete($job);
    $start = microtime(true);
    is($other->reserveWithTimeout(1), null);
    is(microtime(true) - $start > 0.95, true);
}

function a_worker_that_goes(string $tube): void
{
    $c = connect($tube);
    $worker = connect($tube);
    $id = $c->put('x')->getId();
    is($worker->reserve()->getId(), $id);
    unset($worker);
    gc_collect_cycles();
    is($c->reserveWithTimeout(10)->getId(), $id);
}

function pausing(string $tube): void
{
    $c = connect($tube);
    $id = $c->put('x')->getId();
    $c->pauseTube($tube, 1000);
    is(facts($c->statsTube($tube))['pause'], '1000');
    is($c->reserveWithTimeout(0), null);
    $c->resumeTube($tube);
    is($c->reserveWithTimeout(10)->getId(), $id);
}

function tubes_and_statistics(string $tube): void
{
    $c = connect($tube);
    is(in_array($tube, $c->listTubes(), true), true);
    is($c->listTubesWatched(true), [$tube]);
    is($c->listTubeUsed(true), $tube);
    $c->watch('default')->ignore('default');
    $c->put('x', 1);
    $c->put('y', 1, 1000);
    $facts = facts($c->statsTube($tube));
    is([$facts['name'], $facts['current-jobs-urgent'], $facts['current-jobs-delayed']], [$tube, '1', '1']);
    is([$facts['total-jobs'], $facts['current-using'], $facts['current-watching']], ['2', '1', '1']);
    is(facts($c->stats())['version'], '1.13');
    fails(JobTooBigException::class, '', fn () => $c->put(str_repeat('x', 70000)));
    fails(ServerException::class, 'NOT_FOUND', fn () => $c->statsTube("$tube.none"));
}

foreach (['whole_life', 'waiting', 'a_worker_that_goes', 'pausing', 'tubes_and_statistics'] as $test) {
    $test('pheanstalk.' . str_replace('_', '-', $test));
}
echo "Pheanstalk: the life of a job, as it must be\n";
