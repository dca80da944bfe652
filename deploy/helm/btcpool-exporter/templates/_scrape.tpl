{{- /*
One endpoint for any operator: (list $ RELABELINGS METRIC-RELABELINGS), the names that the operator has for these two.

The exporter has a label `endpoint` of its own, the operators write the port's name into one of that name; `pod` and
`container` may be labels of an account. What the exporter says has to win, hence honorLabels; and as a Prometheus may be
told to disregard that, the target loses these labels, too. What names the target is then the same after a restart, so
that no worker's line is cut in two.
*/ -}}
{{- define "btcpool-exporter.endpoint" -}}
{{- $ := index . 0 -}}
{{- $metricRelabelings := index . 2 -}}
{{- $scrape := $.Values.scrape -}}
port: http
path: /metrics
interval: {{ $scrape.interval }}
scrapeTimeout: {{ $scrape.timeout }}
scheme: {{ $scrape.scheme }}
{{- with $scrape.tlsConfig }}
tlsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $scrape.basicAuth }}
basicAuth:
  {{- toYaml . | nindent 2 }}
{{- end }}
honorLabels: true
{{ index . 1 }}:
  - targetLabel: job
    replacement: {{ $scrape.job }}
  {{- if include "btcpool-exporter.sharded" $ }}
  - sourceLabels: [__meta_kubernetes_namespace, __meta_kubernetes_pod_name]
    separator: /
    targetLabel: instance
  {{- else }}
  - targetLabel: instance
    replacement: {{ include "btcpool-exporter.namespace" $ }}/{{ include "btcpool-exporter.fullname" $ }}
  {{- end }}
  - action: labeldrop
    regex: endpoint|pod|container
  {{- with $scrape.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $scrape.metricRelabelings }}
{{ $metricRelabelings }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "btcpool-exporter.scraped" -}}
namespaceSelector:
  matchNames: [{{ include "btcpool-exporter.namespace" . }}]
selector:
  matchLabels:
    {{- include "btcpool-exporter.selectorLabels" . | nindent 4 }}
{{- end -}}
