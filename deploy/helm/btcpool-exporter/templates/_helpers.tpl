{{- define "btcpool-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* 50 characters leave room for what is put behind it, and for what Kubernetes puts behind that. */ -}}
{{- define "btcpool-exporter.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "btcpool-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "btcpool-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "btcpool-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "btcpool-exporter.labels" -}}
{{ include "btcpool-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* metadata of an object: (list $ NAME SUFFIX NAMESPACE LABELS); without a namespace of its own, the release's. */ -}}
{{- define "btcpool-exporter.metadata" -}}
{{- $ := index . 0 -}}
name: {{ include "btcpool-exporter.fullname" $ }}{{ index . 1 }}
namespace: {{ default (include "btcpool-exporter.namespace" $) (index . 2) }}
labels:
  {{- include "btcpool-exporter.labels" $ | nindent 2 }}
  {{- with index . 3 }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "btcpool-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "btcpool-exporter.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "btcpool-exporter.image" -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest -}}
@{{ .Values.image.digest }}
{{- else -}}
:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "btcpool-exporter.keysSecret" -}}
{{- if .Values.keys.existingSecret -}}
{{- .Values.keys.existingSecret -}}
{{- else if .Values.keys.values -}}
{{- include "btcpool-exporter.fullname" . }}-keys
{{- end -}}
{{- end -}}

{{- define "btcpool-exporter.sharded" -}}
{{- if gt (int .Values.shards) 1 }}yes{{ end -}}
{{- end -}}

{{- /* What the schema cannot say, or not in words that help. */ -}}
{{- define "btcpool-exporter.validate" -}}
{{- $values := .Values -}}
{{- $directory := "/etc/btcpool-exporter/keys/" -}}
{{- range $name, $account := $values.config.accounts -}}
{{- if hasKey $account "api_key" -}}
{{- fail (printf "config.accounts.%s.api_key: the configuration becomes a ConfigMap, which is no place for a key. Put the key into a Secret, name that in keys.existingSecret, and set api_key_file: %s<its entry> here" $name $directory) -}}
{{- end -}}
{{- $file := default "" $account.api_key_file -}}
{{- if hasPrefix $directory $file -}}
{{- if not (or $values.keys.existingSecret $values.keys.values) -}}
{{- fail (printf "config.accounts.%s.api_key_file: nothing is mounted at %s; set keys.existingSecret" $name $directory) -}}
{{- end -}}
{{- if and $values.keys.values (not (hasKey $values.keys.values (trimPrefix $directory $file))) -}}
{{- fail (printf "config.accounts.%s.api_key_file: keys.values has no %s" $name (trimPrefix $directory $file)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $values.keys.existingSecret $values.keys.values -}}
{{- fail "keys: give existingSecret or values, not both" -}}
{{- end -}}
{{- if and $values.demo $values.config -}}
{{- fail "demo: the demo brings its own configuration; leave config empty" -}}
{{- end -}}
{{- if and $values.demo (include "btcpool-exporter.sharded" .) -}}
{{- fail "demo: the demo is one process; leave shards at 1" -}}
{{- end -}}
{{- if and (include "btcpool-exporter.sharded" .) (semverCompare "<1.28.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "shards: Kubernetes %s does not number the pods of a StatefulSet in a label; 1.28 and later do" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and $values.ca.configMap $values.ca.secret -}}
{{- fail "ca: give configMap or secret, not both" -}}
{{- end -}}
{{- if and $values.web.certificateSecret (not $values.web.existingSecret) -}}
{{- fail "web.certificateSecret: of no use without web.existingSecret, whose file names the certificate" -}}
{{- end -}}
{{- $monitors := 0 -}}
{{- range list $values.serviceMonitor $values.podMonitor $values.vmPodScrape -}}
{{- if .enabled }}{{ $monitors = add1 $monitors }}{{ end -}}
{{- end -}}
{{- if gt (int $monitors) 1 -}}
{{- fail "serviceMonitor, podMonitor, vmPodScrape: turn on one of them; each would have the exporter scraped once more" -}}
{{- end -}}
{{- end -}}
