# The command, if there is one: the first word that is neither a flag nor a flag's value.
function __fish_btcpool_exporter_needs_command
    set -l words (commandline -opc)
    set -e words[1]
    set -l flag
    for word in $words
        if test -n "$flag"
            set flag
            continue
        end
        switch $word
            case --config.file --web.listen-address --web.telemetry-path --web.config.file --web.max-requests --log.level --log.format
                set flag $word
            case '-*'
            case '*'
                echo $word
                return 1
        end
    end
    return 0
end

function __fish_btcpool_exporter_using_subcommand
    set -l cmd (__fish_btcpool_exporter_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -l config.file -d 'The configuration file (YAML) [default: none: pool statistics, and accounts from the environment]' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -l web.listen-address -d 'Where to listen; may be given several times [default: :10058]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -l web.telemetry-path -d 'The path of the metrics [default: /metrics]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -l web.config.file -d 'TLS, users, headers and rate limit of the server, in the form that every official exporter takes' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -l web.max-requests -d 'Requests answered at the same time; more get HTTP 503; 0: no limit [default: 40]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -l log.level -d 'The least severity that is logged: debug, info, warn, error [default: info]' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -l log.format -d 'How a line of the log is written: logfmt, json [default: logfmt]' -r -f -a "logfmt\t''
json\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -l config.enable-auto-reload -d 'Reload the configuration when its file, or a key\'s file, changes'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -l web.enable-lifecycle -d 'Reload the configuration at POST /-/reload, too; SIGHUP always does'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -l web.systemd-socket -d 'Serve on the sockets that systemd hands over, in place of --web.listen-address'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -s V -l version -d 'Print version'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -f -a "serve" -d 'Polls the pool and serves the metrics (the default)'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -f -a "check" -d 'Validates the configuration and prints what will be polled'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -f -a "once" -d 'Polls everything once and prints the metrics, fit for node_exporter\'s textfile collector; exit code 1 if any endpoint failed'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -f -a "demo" -d 'Runs against a simulated pool on this machine: no key, no network, no configuration'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -f -a "backfill" -d 'Writes the income and the payouts of the days before as OpenMetrics with timestamps, for promtool'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -f -a "health" -d 'Asks a running exporter whether it is healthy; exit code 0 or 1'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand serve" -l config.file -d 'The configuration file (YAML) [default: none: pool statistics, and accounts from the environment]' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand serve" -l web.listen-address -d 'Where to listen; may be given several times [default: :10058]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand serve" -l web.telemetry-path -d 'The path of the metrics [default: /metrics]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand serve" -l web.config.file -d 'TLS, users, headers and rate limit of the server, in the form that every official exporter takes' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand serve" -l web.max-requests -d 'Requests answered at the same time; more get HTTP 503; 0: no limit [default: 40]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand serve" -l log.level -d 'The least severity that is logged: debug, info, warn, error [default: info]' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand serve" -l log.format -d 'How a line of the log is written: logfmt, json [default: logfmt]' -r -f -a "logfmt\t''
json\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand serve" -l config.enable-auto-reload -d 'Reload the configuration when its file, or a key\'s file, changes'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand serve" -l web.enable-lifecycle -d 'Reload the configuration at POST /-/reload, too; SIGHUP always does'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand serve" -l web.systemd-socket -d 'Serve on the sockets that systemd hands over, in place of --web.listen-address'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand serve" -s h -l help -d 'Print help'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand serve" -s V -l version -d 'Print version'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -l config.file -d 'The configuration file (YAML) [default: none: pool statistics, and accounts from the environment]' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -l web.listen-address -d 'Where to listen; may be given several times [default: :10058]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -l web.telemetry-path -d 'The path of the metrics [default: /metrics]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -l web.config.file -d 'TLS, users, headers and rate limit of the server, in the form that every official exporter takes' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -l web.max-requests -d 'Requests answered at the same time; more get HTTP 503; 0: no limit [default: 40]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -l log.level -d 'The least severity that is logged: debug, info, warn, error [default: info]' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -l log.format -d 'How a line of the log is written: logfmt, json [default: logfmt]' -r -f -a "logfmt\t''
json\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -l probe -d 'Asks summary_data once for each account and currency, and prints a line for each; exit code 1 if any fails'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -l config.enable-auto-reload -d 'Reload the configuration when its file, or a key\'s file, changes'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -l web.enable-lifecycle -d 'Reload the configuration at POST /-/reload, too; SIGHUP always does'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -l web.systemd-socket -d 'Serve on the sockets that systemd hands over, in place of --web.listen-address'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -s h -l help -d 'Print help'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand check" -s V -l version -d 'Print version'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -l output -d 'Where to write; the file is replaced when the new one is complete. - is standard output' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -l config.file -d 'The configuration file (YAML) [default: none: pool statistics, and accounts from the environment]' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -l web.listen-address -d 'Where to listen; may be given several times [default: :10058]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -l web.telemetry-path -d 'The path of the metrics [default: /metrics]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -l web.config.file -d 'TLS, users, headers and rate limit of the server, in the form that every official exporter takes' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -l web.max-requests -d 'Requests answered at the same time; more get HTTP 503; 0: no limit [default: 40]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -l log.level -d 'The least severity that is logged: debug, info, warn, error [default: info]' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -l log.format -d 'How a line of the log is written: logfmt, json [default: logfmt]' -r -f -a "logfmt\t''
json\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -l config.enable-auto-reload -d 'Reload the configuration when its file, or a key\'s file, changes'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -l web.enable-lifecycle -d 'Reload the configuration at POST /-/reload, too; SIGHUP always does'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -l web.systemd-socket -d 'Serve on the sockets that systemd hands over, in place of --web.listen-address'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -s h -l help -d 'Print help'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand once" -s V -l version -d 'Print version'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -l speed -d 'How fast the simulated pool\'s time runs: 1 is real time, 60 an hour in a minute, 0 stands still' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -l seed -d 'Which of the possible pools is simulated; the same number gives the same machines and the same noise' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -l config.file -d 'The configuration file (YAML) [default: none: pool statistics, and accounts from the environment]' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -l web.listen-address -d 'Where to listen; may be given several times [default: :10058]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -l web.telemetry-path -d 'The path of the metrics [default: /metrics]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -l web.config.file -d 'TLS, users, headers and rate limit of the server, in the form that every official exporter takes' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -l web.max-requests -d 'Requests answered at the same time; more get HTTP 503; 0: no limit [default: 40]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -l log.level -d 'The least severity that is logged: debug, info, warn, error [default: info]' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -l log.format -d 'How a line of the log is written: logfmt, json [default: logfmt]' -r -f -a "logfmt\t''
json\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -l config.enable-auto-reload -d 'Reload the configuration when its file, or a key\'s file, changes'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -l web.enable-lifecycle -d 'Reload the configuration at POST /-/reload, too; SIGHUP always does'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -l web.systemd-socket -d 'Serve on the sockets that systemd hands over, in place of --web.listen-address'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -s h -l help -d 'Print help'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand demo" -s V -l version -d 'Print version'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l from -d 'First day that is written, as the pool counts days [default: the first that the pool tells of]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l to -d 'Last day that is written; today: up to now [default: yesterday]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l account -d 'Only this account; may be given several times [default: all of them]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l output -d 'Where to write; the file appears when it is whole. - is standard output' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l step -d 'Repeat each value this often while it lasts, such as 5m [default: one sample where there is something new]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l label -d 'A further label of every series, such as job=btcpool; may be given several times' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l config.file -d 'The configuration file (YAML) [default: none: pool statistics, and accounts from the environment]' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l web.listen-address -d 'Where to listen; may be given several times [default: :10058]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l web.telemetry-path -d 'The path of the metrics [default: /metrics]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l web.config.file -d 'TLS, users, headers and rate limit of the server, in the form that every official exporter takes' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l web.max-requests -d 'Requests answered at the same time; more get HTTP 503; 0: no limit [default: 40]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l log.level -d 'The least severity that is logged: debug, info, warn, error [default: info]' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l log.format -d 'How a line of the log is written: logfmt, json [default: logfmt]' -r -f -a "logfmt\t''
json\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l config.enable-auto-reload -d 'Reload the configuration when its file, or a key\'s file, changes'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l web.enable-lifecycle -d 'Reload the configuration at POST /-/reload, too; SIGHUP always does'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -l web.systemd-socket -d 'Serve on the sockets that systemd hands over, in place of --web.listen-address'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -s h -l help -d 'Print help'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand backfill" -s V -l version -d 'Print version'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -l url -d 'Where its /-/healthy is; found by the other flags when not given' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -l config.file -d 'The configuration file (YAML) [default: none: pool statistics, and accounts from the environment]' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -l web.listen-address -d 'Where to listen; may be given several times [default: :10058]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -l web.telemetry-path -d 'The path of the metrics [default: /metrics]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -l web.config.file -d 'TLS, users, headers and rate limit of the server, in the form that every official exporter takes' -r -F
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -l web.max-requests -d 'Requests answered at the same time; more get HTTP 503; 0: no limit [default: 40]' -r
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -l log.level -d 'The least severity that is logged: debug, info, warn, error [default: info]' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -l log.format -d 'How a line of the log is written: logfmt, json [default: logfmt]' -r -f -a "logfmt\t''
json\t''"
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -l config.enable-auto-reload -d 'Reload the configuration when its file, or a key\'s file, changes'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -l web.enable-lifecycle -d 'Reload the configuration at POST /-/reload, too; SIGHUP always does'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -l web.systemd-socket -d 'Serve on the sockets that systemd hands over, in place of --web.listen-address'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -s h -l help -d 'Print help'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand health" -s V -l version -d 'Print version'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand help; and not __fish_seen_subcommand_from serve check once demo backfill health help" -f -a "serve" -d 'Polls the pool and serves the metrics (the default)'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand help; and not __fish_seen_subcommand_from serve check once demo backfill health help" -f -a "check" -d 'Validates the configuration and prints what will be polled'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand help; and not __fish_seen_subcommand_from serve check once demo backfill health help" -f -a "once" -d 'Polls everything once and prints the metrics, fit for node_exporter\'s textfile collector; exit code 1 if any endpoint failed'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand help; and not __fish_seen_subcommand_from serve check once demo backfill health help" -f -a "demo" -d 'Runs against a simulated pool on this machine: no key, no network, no configuration'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand help; and not __fish_seen_subcommand_from serve check once demo backfill health help" -f -a "backfill" -d 'Writes the income and the payouts of the days before as OpenMetrics with timestamps, for promtool'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand help; and not __fish_seen_subcommand_from serve check once demo backfill health help" -f -a "health" -d 'Asks a running exporter whether it is healthy; exit code 0 or 1'
complete -c btcpool-exporter -n "__fish_btcpool_exporter_using_subcommand help; and not __fish_seen_subcommand_from serve check once demo backfill health help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
